"""Optimisers as settings: which parameters decay, and how a step follows from the gradients."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn


class Optimiser(Protocol):
    """Settings of an optimiser."""

    def build(self, module: nn.Module, rate: float) -> torch.optim.Optimizer:
        """The optimiser of a module's parameters."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamW:
    """AdamW that decays weights of more than one dimension and leaves biases and norms alone, as in RDED."""

    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)

    def build(self, module: nn.Module, rate: float) -> torch.optim.Optimizer:
        """The optimiser of a module's parameters."""
        groups: dict[bool, list[Tensor]] = {True: [], False: []}
        for name, parameter in module.named_parameters():
            groups["weight" in name and parameter.ndim > 1].append(parameter)
        settings = [
            {"params": groups[True], "weight_decay": self.weight_decay},
            {"params": groups[False], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(settings, lr=rate, betas=self.betas, fused=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sgd:
    """Stochastic gradient descent with momentum that decays every parameter, as in the matching papers."""

    momentum: float = 0.9
    weight_decay: float = 5e-4

    def build(self, module: nn.Module, rate: float) -> torch.optim.Optimizer:
        """The optimiser of a module's parameters."""
        return torch.optim.SGD(
            module.parameters(), lr=rate, momentum=self.momentum, weight_decay=self.weight_decay, fused=True
        )

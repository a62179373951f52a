"""A running mean of a net's values over epochs."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Average:
    """The exponential mean of parameters and floating buffers, updated once an epoch.

    Source: GLaD's evaluation, which takes it from the package ema-pytorch with decay 0.995 and power 1: the n-th
    update (0-based) keeps min(decay, 1 - 1 / (1 + n)) of the mean, so that the first takes the net as it is.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.values = {name: value.clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Takes the module's present values in."""
        kept = min(self.decay, 1 - 1 / (1 + self.updates))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.values[name].lerp_(value, 1 - kept)
            else:
                self.values[name].copy_(value)
        self.updates += 1

    def into(self, module: nn.Module) -> None:
        """Gives the module the mean for its values."""
        module.load_state_dict(self.values)

    def state(self) -> dict[str, Tensor | int]:
        """What `restore` needs to go on."""
        return {**self.values, "updates": self.updates}

    def restore(self, state: Mapping[str, Tensor | int]) -> None:
        """Goes on from a saved state."""
        for name, value in self.values.items():
            value.copy_(torch.as_tensor(state[name]))
        self.updates = int(state["updates"])

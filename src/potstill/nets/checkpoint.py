"""Training that outlives its process: all that an epoch leaves behind, in one file that is always whole."""

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from potstill.core.errors import PotstillError
from potstill.core.state import load_state, save_state
from potstill.nets.average import Average


@dataclass(slots=True, kw_only=True)
class Checkpoint:
    """Where a training keeps its state, and how many seconds apart at least; the last epoch is always kept.

    `identity` says which training it is: a file of another one raises PotstillError, as does a broken one.
    """

    path: Path
    identity: str
    seconds: float = 60.0
    _saved: float = field(default=-math.inf, init=False)

    def save(
        self,
        done: int,
        epochs: int,
        loss: float,
        module: nn.Module,
        optimiser: torch.optim.Optimizer,
        generator: torch.Generator,
        average: Average | None,
    ) -> None:
        """Writes the state after `done` epochs, if it is time."""
        if done < epochs and time.monotonic() - self._saved < self.seconds:
            return
        state = {
            "identity": self.identity,
            "done": done,
            "loss": loss,
            "module": module.state_dict(),
            "optimiser": optimiser.state_dict(),
            "generator": generator.get_state(),
            "average": average.state() if average else None,
        }
        save_state(self.path, state)
        self._saved = time.monotonic()

    def load(
        self,
        module: nn.Module,
        optimiser: torch.optim.Optimizer,
        generator: torch.Generator,
        average: Average | None,
    ) -> tuple[int, float]:
        """Goes on from the file, where there is one: the epochs that are done, and the loss of the last."""
        if not self.path.is_file():
            return 0, math.nan
        state = self._read()
        module.load_state_dict(state["module"])
        optimiser.load_state_dict(state["optimiser"])
        generator.set_state(state["generator"])
        if average is not None:
            average.restore(state["average"])
        return state["done"], state["loss"]

    def _read(self) -> dict[str, Any]:
        state = load_state(self.path)
        if state.get("identity") != self.identity:
            raise PotstillError(
                f"{self.path} belongs to another training (data, net, settings or versions differ); delete it or "
                "name another folder"
            )
        return state

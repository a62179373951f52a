"""One training in several processes: each takes its part of every batch, and all hold the same state."""

import os
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """A process's `place` among `count`, and the `device` it computes on."""

    count: int = 1
    place: int = 0
    device: str = "cpu"

    @classmethod
    def started(cls, device: str) -> "Processes":
        """Those that `accelerate launch` or `torchrun` started, with a GPU each where the device is "cuda"."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls(device=device)
        from accelerate import PartialState

        state = PartialState(cpu=device == "cpu")
        return cls(count=state.num_processes, place=state.process_index, device=str(state.device))

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and tells."""
        return self.place == 0

    def rows(self, count: int) -> slice:
        """Its part of `count` rows, which may be none."""
        return slice(count * self.place // self.count, count * (self.place + 1) // self.count)

    def joined(self, own: Tensor, count: int) -> Tensor:
        """All `count` rows, where every process gives its `own`; a gradient reaches these alone."""
        if self.count == 1:
            return own
        rows = self.rows(count)
        held = own.new_zeros(count, *own.shape[1:])
        held[rows] = own.detach()
        held = self.total(held)
        return torch.cat([held[: rows.start], own, held[rows.stop :]])

    def total(self, value: Tensor) -> Tensor:
        """The sum over processes, the same bits in each."""
        if self.count > 1:
            torch.distributed.all_reduce(value)
        return value

    def wait(self) -> None:
        """Until every process has come here."""
        if self.count > 1:
            torch.distributed.barrier()

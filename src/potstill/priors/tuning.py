"""One step of Minimax on a DiT, and all that it changes."""

import math
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from potstill.core.errors import PotstillError
from potstill.core.processes import Processes
from potstill.core.state import load_state, save_state
from potstill.priors.diffit import prepare
from potstill.priors.dit import DiT
from potstill.priors.minimax import Memory, Minimax, diversity, representativeness
from potstill.priors.prior import from_clean, to_clean
from potstill.priors.variance import variance_bound


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Clean latents and noise [n, c, h, w]; timesteps, labels and rows of the label table, some dropped, [n]."""

    clean: Tensor
    noise: Tensor
    t: Tensor
    labels: Tensor
    told: Tensor

    @classmethod
    def drawn(
        cls, prior: DiT, clean: Tensor, labels: Tensor, rows: Tensor, dropped: float, draw: torch.Generator
    ) -> "Batch":
        """What is random beside the latents, drawn on the CPU and moved; `rows` has the table's row of each label."""
        noise = torch.randn(clean.shape, generator=draw)
        t = torch.randint(len(prior.alphas_cumprod), labels.shape, generator=draw)
        lost = torch.rand(labels.shape, generator=draw) < dropped
        told = torch.where(lost, prior.transformer.config.num_embeds_ada_norm, rows[labels])
        parts = {"clean": clean, "noise": noise, "t": t, "labels": labels, "told": told}
        return cls(**{name: value.to(prior.device) for name, value in parts.items()})

    def part(self, rows: slice) -> "Batch":
        """Some of its rows."""
        return Batch(**{one.name: getattr(self, one.name)[rows] for one in fields(self)})


@dataclass(slots=True, kw_only=True, eq=False)
class State:
    """What a step changes: what trains and its running mean, the memories, this epoch's sums, the last one's losses."""

    values: list[Tensor]
    averages: list[Tensor]
    optimiser: torch.optim.Optimizer
    real: Memory
    pseudo: Memory
    sums: Tensor
    step: int = 0
    losses: dict[str, float] = field(default_factory=dict)

    @classmethod
    def new(cls, prior: DiT, classes: int, tuning: Minimax) -> "State":
        """The state before the first step; prepares the prior's transformer."""
        values: list[Tensor] = list(prepare(prior.transformer).values())
        width, device = math.prod(prior.latent_shape), prior.device
        return cls(
            values=values,
            averages=[value.detach().clone() for value in values],
            optimiser=torch.optim.AdamW(values, lr=tuning.rate, weight_decay=0.0, fused=True),
            real=Memory.empty(classes, tuning.memory, width, device),
            pseudo=Memory.empty(classes, tuning.memory, width, device),
            sums=torch.zeros(3, device=device),
        )

    def advance(self, prior: DiT, batch: Batch, tuning: Minimax, table: Tensor, processes: Processes) -> None:
        """One step of optimiser and running mean, then of the memories, so that no latent is its own neighbour.

        A process without rows of a small batch goes through the motions, as a sum over processes needs them all.
        """
        count = len(batch.labels)
        rows = processes.rows(count)
        own = rows.stop - rows.start
        loss, x0 = diffusion_loss(prior, batch.part(rows if own else slice(1)), table)
        loss = loss * (own / count)
        found = processes.joined(x0.flatten(1)[:own], count)
        near = representativeness(found, batch.labels, self.real)
        apart = diversity(found, batch.labels, self.pseudo)
        self.optimiser.zero_grad()
        (loss + tuning.representative * near + tuning.diverse * apart).backward()
        loss = self._summed(loss.detach(), processes)
        self.optimiser.step()
        get_ema_multi_avg_fn(tuning.average)(self.averages, self.values, self.step)
        self.real.push(batch.clean.flatten(1), batch.labels)
        self.pseudo.push(found, batch.labels)
        self.sums += torch.stack([loss, near, apart]).detach()
        self.step += 1

    def _summed(self, loss: Tensor, processes: Processes) -> Tensor:
        """Sums gradients over processes, in place, and the loss with them."""
        if processes.count > 1:
            held = [value.grad for value in self.values if value.grad is not None]
            summed = processes.total(torch.cat([*(grad.flatten() for grad in held), loss[None]]))
            *parts, loss = summed.split([*(grad.numel() for grad in held), 1])
            for grad, part in zip(held, parts, strict=True):
                grad.copy_(part.view_as(grad))
        return loss.squeeze()

    def conclude(self, steps: int) -> None:
        """Ends an epoch of so many steps: its mean losses; raises PotstillError where they are not finite."""
        names = ("diffusion", "representativeness", "diversity")
        self.losses = dict(zip(names, (self.sums / steps).tolist(), strict=True))
        self.sums.zero_()
        if not all(map(math.isfinite, self.losses.values())):
            raise PotstillError(f"fine-tuning diverged: the losses at step {self.step} are {self.losses}")

    @torch.no_grad()
    def settle(self) -> None:
        """Puts the running mean in the place of what was trained."""
        for value, mean in zip(self.values, self.averages, strict=True):
            value.copy_(mean)

    def save(self, file: Path, identity: str) -> None:
        """Writes all of it, whole or not at all."""
        told = {"identity": identity, "step": self.step, "losses": self.losses}
        save_state(file, told | {"tensors": self._tensors(), "optimiser": self.optimiser.state_dict()})

    def restore(self, file: Path, identity: str) -> None:
        """Goes on from what `save` wrote; raises PotstillError where that was another run's."""
        kept = load_state(file, self.sums.device)
        if kept.get("identity") != identity:
            raise PotstillError(f"{file} belongs to another fine-tuning: delete it or name another folder")
        for value, old in zip(self._tensors(), kept["tensors"], strict=True):
            value.copy_(old)
        self.optimiser.load_state_dict(kept["optimiser"])
        self.step, self.losses = kept["step"], kept["losses"]

    def _tensors(self) -> list[Tensor]:
        memories = [self.real.items, self.real.pushed, self.pseudo.items, self.pseudo.pushed]
        return [*(value.detach() for value in self.values), *self.averages, *memories, self.sums]


def diffusion_loss(prior: DiT, batch: Batch, table: Tensor) -> tuple[Tensor, Tensor]:
    """The mean squared error of what the network predicts, and the clean latents [n, c, h, w] that it sees.

    Where the network predicts the variance too, the bound that trains it is added (`variance_bound`, whose table of
    the noise schedule this is); where it does not, as the digits' DiT, there is none.
    """
    kind = prior.pipe.scheduler.config.prediction_type
    alpha_bar = prior.alphas_cumprod.to(batch.t.device)[batch.t][:, None, None, None]
    x_t = alpha_bar**0.5 * batch.clean + (1 - alpha_bar) ** 0.5 * batch.noise
    raw = prior.transformer(x_t, timestep=batch.t, class_labels=batch.told).sample
    channels = batch.clean.shape[1]
    said, variance = raw[:, :channels], raw[:, channels:]
    x0 = to_clean(said, x_t, alpha_bar, kind)
    loss = (said - from_clean(batch.clean, x_t, alpha_bar, kind)).square().mean()
    if variance.shape[1]:
        loss = loss + variance_bound(variance, x0, batch.clean, x_t, batch.t, table).mean()
    return loss, x0

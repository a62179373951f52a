"""The gradient ascent of a score during denoising: where it looks, how hard it pushes, and what it saves.

Legend: x_t the noisy latent, x0 the clean one, a the alpha-bar of the step, S the score, g its gradient.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from potstill.core.blocks import in_blocks
from potstill.core.errors import PotstillError, unknown
from potstill.core.progress import OnStep, Step, silent
from potstill.guidance.scores import Score
from potstill.guidance.terms import Bound, Moment, Targets
from potstill.priors import Condition, Prior

Look = Literal["noisy", "clean", "full"]
LOOKS = ("noisy", "clean", "full")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How an image is pushed: `weight` 0 leaves the sampler bitwise as it is.

    look: what the score sees and what it is differentiated by. `noisy`: decode(x_t), by x_t (as the authors' code
      seems to); `clean`: decode(x0), by x0, the network's output held constant and the chain rule's 1/sqrt(a)
      left out, which would blow up early; `full`: decode(x0), by x_t, through the denoiser.
    normalise: scale each image's edit so that it moves the predicted noise by `weight` times its own norm.
      Without, Eq. 9: x0 <- x0 + weight (1 - a)/sqrt(a) g.
    start, stop: the window of steps, as fractions of the loop in [0, 1].
    every: look only at every so many steps and repeat an image's last direction in between; one that has none since,
      as it was complete then, is looked at when a check finds it incomplete.
    pool: average latents over so many pixels a side before decoding them for the look.
    until: push an image only while its mean cosine is below this quantile, in (0, 1], of real images of its
      class; None pushes always. check: how many steps pass between two looks at which images are complete.
    """

    weight: float = 1.0
    look: Look = "clean"
    normalise: bool = False
    start: float = 0.0
    stop: float = 1.0
    every: int = 1
    pool: int = 1
    until: float | None = None
    check: int = 1

    def __post_init__(self) -> None:
        if self.look not in LOOKS:
            raise unknown("look", self.look, LOOKS)
        if not math.isfinite(self.weight):
            raise PotstillError(f"weight must be finite, not {self.weight}")
        if not 0 <= self.start < self.stop <= 1:
            raise PotstillError(
                f"a window needs 0 <= start < stop <= 1, not start {self.start} and stop {self.stop}"
            )
        for name in ("every", "pool", "check"):
            if getattr(self, name) < 1:
                raise PotstillError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.until is not None and not 0 < self.until <= 1:
            raise PotstillError(f"until is a quantile in (0, 1], not {self.until}")

    def window(self, total: int) -> range:
        """The steps of a loop of `total` at which images are pushed; raises PotstillError where there is none."""
        steps = range(round(self.start * total), round(self.stop * total))
        if not steps:
            raise PotstillError(
                f"the window from {self.start} to {self.stop} holds none of {total} steps: widen it or take more"
            )
        return steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """A term that ascends a score: every image by its own gradient, that of the sum over the batch.

    Source: CONCORD, Eq. 9, written on clean latents and with the sign of an ascent. `gauge` measures completeness
    where the pace has `until`; `decode` replaces the prior's decoder for the look (a tiny autoencoder).
    `on_step` is told the share of images pushed at each step of the window.
    """

    score: Score
    pace: Pace
    targets: Targets
    gauge: Score | None = None
    decode: Callable[[Tensor], Tensor] | None = None
    on_step: OnStep = silent

    @property
    def through_denoiser(self) -> bool:
        """Whether the look differentiates the clean latent by the noisy one."""
        return self.pace.look == "full" and self.pace.weight != 0

    @property
    def runs_denoiser(self) -> bool:
        """Never."""
        return False

    @property
    def images(self) -> int:
        """As many as there are targets."""
        return len(self.targets.labels)

    def bind(self, prior: Prior, condition: Condition) -> Bound:
        """The term for one batch; it remembers the last gradients and which images are complete.

        What is bound raises PotstillError where it is given another number of images than there are targets.
        """
        if self.pace.weight == 0:
            return lambda x_t, moment, x0: x0
        return _Pushing(self, self.decode or prior.decode)


class _Pushing:
    """One batch's state: the images still incomplete, and the direction last found for those that are `known`."""

    def __init__(self, term: Push, decode: Callable[[Tensor], Tensor]) -> None:
        self.term, self.pace, self.decode, self.targets = term, term.pace, decode, term.targets
        self.active = torch.arange(term.images, device=term.targets.labels.device)
        self.known = torch.zeros_like(self.active, dtype=torch.bool)
        self.direction: Tensor | None = None

    def __call__(self, x_t: Tensor, moment: Moment, x0: Tensor) -> Tensor:
        pace = self.pace
        if len(x0) != self.term.images:
            raise PotstillError(f"a term that aims at {self.term.images} images was given {len(x0)}")
        window = pace.window(moment.total)
        if moment.index not in window or moment.alpha_bar == 0:  # pure noise tells nothing of the image yet
            return x0
        since = moment.index - window.start
        if pace.until is not None and since % pace.check == 0:
            self.active = self._incomplete(x0.detach())
        share = len(self.active) / len(x0)
        self.term.on_step(
            Step(stage="push", index=moment.index + 1, total=moment.total, scalars={"pushed": share})
        )
        due = since % pace.every == 0
        if due:
            self.known.zero_()
        if len(self.active) == 0:
            return x0
        if self.direction is None:
            self.direction = torch.zeros_like(x0)
        lacking = self.active if due else self.active[~self.known[self.active]]
        if len(lacking):
            self.direction[lacking] = self._direction(x_t, x0, lacking)
            self.known[lacking] = True
        reach = self._reach(x_t.detach(), x0.detach(), moment.alpha_bar)
        edited = x0.clone()
        edited[self.active] += reach * self.direction[self.active]
        return edited

    @torch.no_grad()
    def _incomplete(self, x0: Tensor) -> Tensor:
        assert self.term.gauge is not None and self.targets.complete is not None
        gauge, everyone = self.term.gauge, torch.arange(len(x0), device=x0.device)

        def measured(latents: Tensor, rows: Tensor) -> Tensor:
            return gauge(self._see(latents), self.targets.rows(rows))

        return (in_blocks(measured, x0, everyone) < self.targets.complete).nonzero()[:, 0]

    def _direction(self, x_t: Tensor, x0: Tensor, rows: Tensor) -> Tensor:
        """The gradient of some images, of unit norm where the pace normalises."""
        source = (x_t if self.pace.look == "noisy" else x0).detach()
        found = in_blocks(self._gradient, source[rows], rows)
        if self.pace.look == "full":
            toward = torch.zeros_like(source).index_copy(0, rows, found)
            found = torch.autograd.grad(x0, x_t, toward, retain_graph=True)[0][rows]
        if self.pace.normalise:
            found = found / _norm(found).clamp_min(1e-12)
        return found

    @torch.enable_grad()
    def _gradient(self, latents: Tensor, rows: Tensor) -> Tensor:
        leaf = latents.detach().requires_grad_()
        scored = self.term.score(self._see(leaf), self.targets.rows(rows))
        return torch.autograd.grad(scored.sum(), leaf)[0]

    def _see(self, latents: Tensor) -> Tensor:
        if self.pace.pool > 1:
            latents = torch.nn.functional.avg_pool2d(latents, self.pace.pool)
        return self.decode(latents)

    def _reach(self, x_t: Tensor, x0: Tensor, alpha_bar: float) -> Tensor | float:
        """How far the clean latent moves along the direction."""
        if not self.pace.normalise:
            return self.pace.weight * (1 - alpha_bar) / alpha_bar**0.5
        noise = (x_t - alpha_bar**0.5 * x0)[self.active] / (1 - alpha_bar) ** 0.5
        return self.pace.weight * ((1 - alpha_bar) / alpha_bar) ** 0.5 * _norm(noise)


def _norm(rows: Tensor) -> Tensor:
    return rows.flatten(1).norm(dim=1)[:, None, None, None]

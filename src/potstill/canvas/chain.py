"""LD3M: latents and conditions learned through the whole reverse chain of a latent diffusion model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from potstill.canvas.canvas import Learned
from potstill.canvas.start import real_starts, side
from potstill.core.blocks import in_blocks
from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.core.settings import require_allowed
from potstill.data.real import RealData
from potstill.distilled import Slot
from potstill.guidance.free import ClassifierFree
from potstill.guidance.terms import Moment
from potstill.priors import Condition, Prior, Request

Residual = Literal["clean", "noisy", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Latents Z and conditions c, seen through `steps` steps of DDIM (eta 0) with classifier-free guidance.

    Source: LD3M (Moser et al. 2024, arXiv:2403.03881). A residual from the start, whose weight falls from 1 to 0 over
    the steps, lets the gradient reach Z past the denoiser: "clean" mixes the quantised Z into the clean latent that
    the denoiser sees, as the authors' code does; "noisy" mixes the initial noisy state into every next state, as the
    abstract says. Z begins as the encoding of a real image, c as what the prior is told of the class.

    Departs: the start noise is a slot's own and stays, where the code draws it anew for loss, gradient and evaluation;
    Z is quantised once a change; the encoder sees pixels in its own range; the number of steps need not divide 1000.
    Each call of the denoiser is computed again for its gradient (`remember` keeps its insides), so that memory does
    not grow with the steps. Without `pretrained` the denoiser is untrained, as LD3M's study of generators has it: it
    says 0, and what is left are Z and the decoder. `size` is the images' side in px, None the prior's. Raises
    PotstillError for a residual over fewer than 2 steps, for more steps than the prior has, and for a size that it
    can't have.
    """

    kind: Literal["chain"] = "chain"
    prior: str
    steps: int = 10
    scale: float = 3.0
    residual: Residual = "clean"
    rate: float = 0.1
    rate_condition: float = 0.1
    pretrained: bool = True
    remember: bool = False
    size: int | None = None

    def __post_init__(self) -> None:
        require_allowed(self)
        least = 1 if self.residual == "none" else 2
        if self.steps < least:
            raise PotstillError(
                f"a chain with residual {self.residual!r} needs at least {least} steps, not {self.steps}"
            )

    def prepare(self, real: RealData, slots: Sequence[Slot], *, seed: int, device: str) -> "ChainSurface":
        """Loads the prior, encodes a real image for each slot and draws its noise."""
        prior = Prior.from_pretrained(self.prior, device=device)
        if not self.pretrained:
            prior.forget(seed)
        timesteps(self.steps, len(prior.alphas_cumprod))
        size = side(prior, self.size)
        images = real_starts(real, slots, size=size, seed=seed)
        with torch.no_grad():
            latents = in_blocks(prior.encode, images.to(device))
            told = prior.learnable(prior.condition([_request(real, slot, seed) for slot in slots]))
        conditions = {name: value.detach().clone().requires_grad_() for name, value in told.values.items()}
        draws = [generator(seed, "noise", slot.key, slot.index) for slot in slots]
        noise = prior.noise(draws, latents.shape[1:])
        return ChainSurface(self, prior, latents.clone().requires_grad_(), conditions, noise, size)


@dataclass(frozen=True, eq=False)
class ChainSurface:
    """A chain made ready: latents, conditions and start noise, a row a slot."""

    settings: Chain
    prior: Prior
    latents: Tensor
    conditions: Mapping[str, Tensor]
    noise: Tensor
    size: int

    @property
    def copies(self) -> int:
        """A slot is one image."""
        return 1

    @property
    def weights(self) -> Mapping[str, str]:
        """The prior's networks."""
        return {self.settings.prior: self.prior.provenance}

    @property
    def learned(self) -> Mapping[str, Learned]:
        """Latents and conditions."""
        told = {name: Learned(value, self.settings.rate_condition) for name, value in self.conditions.items()}
        return {"latents": Learned(self.latents, self.settings.rate)} | told

    def images(self, rows: slice) -> Tensor:
        """Through the chain and the decoder, clamped to [0, 1]."""
        condition = Condition({name: value[rows] for name, value in self.conditions.items()})
        latents = chained(self.prior, self.latents[rows], condition, self.noise[rows], self.settings)
        return in_blocks(self.prior.decode, latents).clamp(0, 1)

    @torch.no_grad()
    def kept(self, rows: slice) -> Tensor:
        """The same images."""
        return self.images(rows)


def chained(prior: Prior, latents: Tensor, condition: Condition, noise: Tensor, settings: Chain) -> Tensor:
    """Clean latents at the end of the chain that begins at `latents` [n, c, h, w] with `noise` added."""
    moments = timesteps(settings.steps, len(prior.alphas_cumprod))
    start = prior.quantise(latents)
    guide = ClassifierFree(settings.scale).bind(prior, condition)
    share = prior.alpha_bar(moments[-1])
    first = x_t = share**0.5 * latents + (1 - share) ** 0.5 * noise

    for place in reversed(range(len(moments))):
        t, share = moments[place], prior.alpha_bar(moments[place])
        following = prior.alpha_bar(moments[place - 1] if place else torch.tensor(0))

        def clean(x_t: Tensor, t: Tensor = t, place: int = place, share: float = share) -> Tensor:
            return guide(x_t, Moment(place, len(moments), t, share), prior.denoise(x_t, t, condition))

        x0 = clean(x_t) if settings.remember else checkpoint(clean, x_t, use_reentrant=False)
        error = (x_t - share**0.5 * x0) / (1 - share) ** 0.5
        weight = place / (len(moments) - 1) if len(moments) > 1 else 0.0
        if settings.residual == "clean":
            x0 = (1 - weight) * x0 + weight * start
        x_t = following**0.5 * x0 + (1 - following) ** 0.5 * error
        if settings.residual == "noisy":
            x_t = (1 - weight) * x_t + weight * first
    return x_t


def timesteps(steps: int, trained: int) -> list[torch.Tensor]:
    """Rising timesteps 1, 1 + trained / steps, ..., rounded down: as many as asked for, whatever divides.

    Raises PotstillError where these would not lie below `trained`.
    """
    if steps >= trained:
        raise PotstillError(f"a chain has fewer steps than the prior's {trained}, not {steps}")
    return [torch.tensor(1 + place * trained // steps) for place in range(steps)]


def _request(real: RealData, slot: Slot, seed: int) -> Request:
    label = real.classes.index(slot.key)
    draw = generator(seed, "condition", slot.key, slot.index)
    rows = real.train.of_class(label).tolist()
    return Request(slot.key, real.classes.names[label], draw, real.train, rows)

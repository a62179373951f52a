"""Latents of an autoencoder, decoded and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from potstill.canvas.canvas import Learned
from potstill.canvas.start import real_starts, side
from potstill.core.blocks import in_blocks
from potstill.core.fingerprint import fingerprint
from potstill.data.real import RealData
from potstill.distilled import Slot
from potstill.priors import Prior


@dataclass(frozen=True, slots=True, kw_only=True)
class Latents:
    """What a prior's autoencoder makes of a real image, learned, and seen through its decoder alone.

    The chain of LD3M without the diffusion: what it must be compared with. `size` is the images' side in px, None the
    prior's. Raises PotstillError for one that the prior can't have.
    """

    kind: Literal["latents"] = "latents"
    prior: str
    rate: float = 0.1
    size: int | None = None

    def prepare(self, real: RealData, slots: Sequence[Slot], *, seed: int, device: str) -> "LatentSurface":
        """Loads the prior and encodes a real image for each slot."""
        prior = Prior.from_pretrained(self.prior, device=device)
        size = side(prior, self.size)
        images = real_starts(real, slots, size=size, seed=seed)
        with torch.no_grad():
            latents = in_blocks(prior.encode, images.to(device))
        return LatentSurface(self, prior, latents.clone().requires_grad_(), size)


@dataclass(frozen=True, eq=False)
class LatentSurface:
    """Latents made ready, a row a slot."""

    settings: Latents
    prior: Prior
    latents: Tensor
    size: int

    @property
    def copies(self) -> int:
        """A slot is one image."""
        return 1

    @property
    def weights(self) -> Mapping[str, str]:
        """The autoencoder."""
        return {self.settings.prior: fingerprint([self.prior.vae])}

    @property
    def learned(self) -> Mapping[str, Learned]:
        """The latents."""
        return {"latents": Learned(self.latents, self.settings.rate)}

    def images(self, rows: slice) -> Tensor:
        """Decoded, clamped to [0, 1]."""
        return in_blocks(self.prior.decode, self.latents[rows]).clamp(0, 1)

    @torch.no_grad()
    def kept(self, rows: slice) -> Tensor:
        """The same images."""
        return self.images(rows)

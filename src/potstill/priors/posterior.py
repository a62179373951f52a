"""Real images as an autoencoder sees them, encoded once and drawn as often as wanted."""

from dataclasses import dataclass

import torch
from torch import Tensor

from potstill.core.blocks import in_blocks
from potstill.core.progress import OnStep, Step, silent
from potstill.data.real import RealData
from potstill.priors.prior import Prior

AT_ONCE = 64


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """Mean and deviation of every training image's latent, scaled, on the CPU: float32 [m, n, c, h, w].

    m is 2 where a mirrored image keeps its class, with the mirrored ones second, else 1.
    """

    mean: Tensor
    deviation: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, real: RealData, prior: Prior, on_step: OnStep = silent) -> "Posterior":
        """That of all training images under a prior with a KL autoencoder."""

        def encoded(pixels: Tensor) -> Tensor:
            found = prior.vae.encode((pixels * 2 - 1).to(prior.vae.dtype)).latent_dist
            return torch.stack([found.mean, found.std], 1).float() * prior.vae.config.scaling_factor

        parts, rows = [], torch.arange(len(real.train)).split(AT_ONCE)
        for place, some in enumerate(rows, start=1):
            pixels = real.train.pixels(some, prior.size).to(prior.device).float() / 255
            seen = [pixels, pixels.flip(3)] if real.mirror else [pixels]
            parts.append(torch.stack([in_blocks(encoded, one) for one in seen]).cpu())
            on_step(Step(stage="encode", index=place, total=len(rows)))
        mean, deviation = torch.cat(parts, 1).unbind(2)
        return cls(mean, deviation)

    def drawn(self, rows: Tensor, draw: torch.Generator) -> Tensor:
        """A fresh latent [n, c, h, w] of each row's image, mirrored or not."""
        side = torch.randint(len(self.mean), rows.shape, generator=draw)
        noise = torch.randn(len(rows), *self.mean.shape[2:], generator=draw)
        return self.mean[side, rows] + self.deviation[side, rows] * noise

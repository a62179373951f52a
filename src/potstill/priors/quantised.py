"""Priors whose latent space is a codebook's."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from potstill.core.pixels import require_floats
from potstill.priors.prior import Prior


class QuantisedPrior(Prior):
    """A latent diffusion model with a UNet behind an autoencoder that quantises.

    Source: Rombach et al. 2022 (arXiv:2112.10752), VQ-regularised models. Latents are the encoder's map before
    quantisation; decoding quantises. Departs: pixels enter the encoder in [-1, 1], as in training; LD3M's code
    normalises them by ImageNet's statistics.
    """

    def __init__(self, pipe: Any) -> None:
        super().__init__(pipe)
        self.unet = pipe.unet.eval().requires_grad_(False)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a latent as the prior was trained."""
        config = self.unet.config
        return config.in_channels, config.sample_size, config.sample_size

    def encode(self, pixels: Tensor) -> Tensor:
        """The latent [n, c, h, w] before quantisation, scaled, of pixels [n, 3, h, w] in [0, 1]."""
        mapped = self.vae.encode((require_floats(pixels) * 2 - 1).to(self.vae.dtype)).latents
        return mapped.float() * self.vae.config.scaling_factor

    def quantise(self, latents: Tensor) -> Tensor:
        """The nearest codes of latents [n, c, h, w]; the gradient passes as though nothing had been done.

        Source: van den Oord et al. 2017 (arXiv:1711.00937), sections 3.1 and 3.2.
        """
        codes = self.vae.quantize.embedding.weight.to(latents.dtype) * self.vae.config.scaling_factor
        nearest = torch.stack([_nearest(one, codes) for one in latents.detach()])
        return nearest + (latents - latents.detach())

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels around [0, 1], not clamped, of scaled latents, quantised; the gradient reaches the latents."""
        scaled = (self.quantise(latents) / self.vae.config.scaling_factor).to(self.vae.dtype)
        return self.vae.decode(scaled, force_not_quantize=True).sample.float() / 2 + 0.5


def _nearest(latent: Tensor, codes: Tensor) -> Tensor:
    """The code [c] at the least Euclidean distance from each place of a latent [c, h, w], in its place.

    Distances are sums of squared differences, an image at a time: a matrix product would cancel digits, differ with
    the batch and take all images' distances to all codes at once.
    """
    places = latent.flatten(1).T
    apart = torch.cdist(places, codes, compute_mode="donot_use_mm_for_euclid_dist")
    return functional.embedding(apart.argmin(1), codes).T.unflatten(1, latent.shape[1:])

"""A latent diffusion model that is told no class, such as one of faces."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from potstill.core.errors import PotstillError
from potstill.priors.prior import Condition, Request
from potstill.priors.quantised import QuantisedPrior


class UnconditionalLDM(QuantisedPrior):
    """A latent diffusion model of images without classes: what it draws is told by the latent that it begins from.

    Source: Rombach et al. 2022 (arXiv:2112.10752), the models of faces, one of which LD3M distils other images with.
    For a chain, or for terms that say what a class looks like. Departs: diffusers divides latents by 0.18215 where a
    folder names no factor, as CompVis/ldm-celebahq-256 does not; the source scales no quantised latents, so that
    the factor is 1 there.
    """

    first_stage = "vqvae"

    def __init__(self, pipe: Any) -> None:
        super().__init__(pipe)
        if "scaling_factor" in self.vae.config.get("_use_default_values", ()):
            self.vae.register_to_config(scaling_factor=1.0)

    def predict(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The network's raw output."""
        return self.unet(x_t.to(self.unet.dtype), t).sample

    def blank(self, count: int) -> Condition:
        """Nothing."""
        return Condition({})

    def condition(self, requests: Sequence[Request]) -> Condition:
        """Nothing, whatever the class."""
        return Condition({})

    def null_condition(self, condition: Condition) -> Condition:
        """Never: raises PotstillError."""
        raise PotstillError("this prior is told no class, so that nothing can guide it: set scale=1")

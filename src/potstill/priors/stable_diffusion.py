"""A latent diffusion model told a prompt (diffusers' StableDiffusionPipeline)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from potstill.priors.prior import Condition, Prior, Request
from potstill.priors.prompts import TOKENS, prompted


class StableDiffusion(Prior):
    """Stable Diffusion, told a class by its name.

    Source: Rombach et al. 2022 (arXiv:2112.10752), as D4M (arXiv:2407.15138) uses version 1.5. Departs: D4M tells an
    ImageNet class by all its synonyms, here it is the one name that classes have everywhere (`data/classes.py`); its
    negative prompt against drawings is left out; nothing is told by the empty prompt.
    """

    unused = ("safety_checker", "feature_extractor", "image_encoder")

    def __init__(self, pipe: Any) -> None:
        super().__init__(pipe)
        for part in (pipe.unet, pipe.text_encoder):
            part.eval().requires_grad_(False)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a latent."""
        config = self.pipe.unet.config
        return config.in_channels, config.sample_size, config.sample_size

    def predict(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The network's raw output."""
        unet = self.pipe.unet
        return unet(
            x_t.to(unet.dtype), t, encoder_hidden_states=condition.values["text"].to(unet.dtype)
        ).sample

    def blank(self, count: int) -> Condition:
        """Text states of 0."""
        shape = (count, TOKENS, self.pipe.unet.config.cross_attention_dim)
        return Condition({"text": torch.zeros(shape, device=self.device)})

    def condition(self, requests: Sequence[Request]) -> Condition:
        """The classes' names as prompts."""
        return Condition({"text": prompted(self.pipe, [request.name for request in requests], self.device)})

    def null_condition(self, condition: Condition) -> Condition:
        """The empty prompt."""
        text = condition.values["text"]
        return Condition({"text": prompted(self.pipe, [""], self.device).expand(len(text), -1, -1)})

"""Image variation with a text prompt (diffusers' StableUnCLIPImg2ImgPipeline)."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from potstill.core.blocks import in_blocks
from potstill.priors.prior import Condition, Prior, Request
from potstill.priors.prompts import TOKENS, prompted

TEMPLATES = (
    "a photo of a {}.",
    "a photo of the {}.",
    "a photo of one {}.",
    "a photo of my {}.",
    "a photo of a nice {}.",
    "a photo of the nice {}.",
    "a photo of a cool {}.",
    "a photo of the cool {}.",
    "a photo of a large {}.",
    "a photo of the large {}.",
    "a photo of a small {}.",
    "a photo of the small {}.",
    "a photo of a clean {}.",
    "a photo of the clean {}.",
    "a good photo of a {}.",
    "a good photo of the {}.",
    "a bright photo of a {}.",
    "a bright photo of the {}.",
    "a close-up photo of a {}.",
    "a close-up photo of the {}.",
    "a cropped photo of a {}.",
    "a cropped photo of the {}.",
    "a photo of many {}.",
    "a detailed photo of a {}.",
    "a detailed photo of the {}.",
    "a sharp photo of a {}.",
    "a natural photo of a {}.",
    "a realistic photo of a {}.",
)


class UnCLIP(Prior):
    """A latent diffusion model told one real image of the class, by its CLIP embedding, and a prompt.

    Source: Ramesh et al. 2022 (arXiv:2204.06125) in the Stable unCLIP form; CONCORD, section 4.1: a random real
    image and one of 28 prompts an image. Departs: the 28 are not published, so `TEMPLATES` is our own list in the
    manner of CLIP's; the class name is cut at its first comma. Noise level 0, as the pipeline's default.
    """

    def __init__(self, pipe: Any) -> None:
        super().__init__(pipe)
        for part in (pipe.unet, pipe.text_encoder, pipe.image_encoder):
            part.eval().requires_grad_(False)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a latent."""
        config = self.pipe.unet.config
        return config.in_channels, config.sample_size, config.sample_size

    def predict(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The network's raw output."""
        unet, values = self.pipe.unet, condition.values
        noisy = x_t.to(unet.dtype)
        return unet(noisy, t, encoder_hidden_states=values["text"], class_labels=values["image"]).sample

    def blank(self, count: int) -> Condition:
        """Text states and image vectors of 0."""
        config = self.pipe.unet.config
        text = torch.zeros(count, TOKENS, config.cross_attention_dim, device=self.device)
        image = torch.zeros(count, config.projection_class_embeddings_input_dim, device=self.device)
        return Condition({"text": text, "image": image})

    @torch.no_grad()
    def condition(self, requests: Sequence[Request]) -> Condition:
        """A prompt and a noised image embedding for each image, drawn by the image's own generator.

        The order of draws is template, real image, embedding noise.
        """
        prompts, noises, pictures = [], [], []
        width = self.pipe.image_encoder.config.projection_dim
        for request in requests:
            template = TEMPLATES[int(torch.randint(len(TEMPLATES), (), generator=request.draw))]
            row = request.rows[int(torch.randint(len(request.rows), (), generator=request.draw))]
            prompts.append(template.format(request.name.split(",")[0]))
            pictures.append(request.real.read(row))
            noises.append(torch.randn(width, generator=request.draw))
        return self.told(prompts, pictures, torch.stack(noises))

    @torch.no_grad()
    def told(self, prompts: Sequence[str], pictures: Sequence[Image.Image], noise: Tensor) -> Condition:
        """The condition for given prompts, real images and standard normal embedding noise [n, d]."""
        pipe, dtype = self.pipe, self.pipe.image_encoder.dtype
        pixels = pipe.feature_extractor(images=list(pictures), return_tensors="pt").pixel_values
        pixels = pixels.to(self.device, dtype)
        seen = in_blocks(lambda rows: pipe.image_encoder(rows).image_embeds, pixels)
        image = pipe.noise_image_embeddings(seen, noise_level=0, noise=noise.to(self.device, dtype))
        return Condition({"text": prompted(self.pipe, prompts, self.device), "image": image})

    @torch.no_grad()
    def null_condition(self, condition: Condition) -> Condition:
        """The empty prompt and a zero image vector, as the pipeline's unconditional half."""
        image = condition.values["image"]
        text = prompted(self.pipe, [""], self.device).expand(len(image), -1, -1)
        return Condition({"text": text, "image": torch.zeros_like(image)})

"""The class-conditional diffusion transformer (diffusers' DiTPipeline)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from potstill.core.errors import PotstillError
from potstill.data.classes import imagenet
from potstill.priors.prior import Condition, Prior, Request


class DiT(Prior):
    """DiT in the latent space of a KL autoencoder.

    Source: Peebles and Xie 2023 (arXiv:2212.09748), as diffusers runs it: the learned variance is not used and
    guidance acts on all latent channels; the paper's own code guides three of four. The null class is the last
    row of the label table.
    """

    def __init__(self, pipe: Any) -> None:
        super().__init__(pipe)
        self.transformer = pipe.transformer.eval().requires_grad_(False)
        labels = getattr(pipe, "labels", None) or {}
        self.labels = {str(name): int(place) for name, place in labels.items()}

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a latent."""
        config = self.transformer.config
        return config.in_channels, config.sample_size, config.sample_size

    def predict(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The network's raw output, the learned variance left out."""
        noisy = x_t.to(self.transformer.dtype)
        raw = self.transformer(noisy, timestep=t, class_labels=condition.values["class"]).sample
        return raw[:, : self.transformer.config.in_channels]

    def condition(self, requests: Sequence[Request]) -> Condition:
        """The classes' rows in the label table; raises PotstillError for a class that the prior does not know."""
        rows = [self.class_row(request.key, request.name) for request in requests]
        return Condition({"class": torch.tensor(rows, device=self.device)})

    def null_condition(self, condition: Condition) -> Condition:
        """The null class for every image."""
        null = self.transformer.config.num_embeds_ada_norm
        return Condition({"class": torch.full_like(condition.values["class"], null)})

    def class_row(self, key: str, name: str) -> int:
        """A class's row in the label table, by WordNet id for ImageNet's classes, else by key or name."""
        if key in imagenet().keys and (not self.labels or "tench" in self.labels):
            return imagenet().index(key)
        for label in (key, name):
            if label in self.labels:
                return self.labels[label]
        raise PotstillError(
            f"this prior does not know class {key!r} ({name}). It knows: {', '.join(list(self.labels)[:20])}"
        )

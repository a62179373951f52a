"""The class-conditional diffusion transformer (diffusers' DiTPipeline)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from potstill.core.errors import PotstillError
from potstill.data.classes import imagenet
from potstill.priors.prior import Condition, Prior, Request


class DiT(Prior):
    """DiT in the latent space of a KL autoencoder.

    Source: Peebles and Xie 2023 (arXiv:2212.09748), as diffusers runs it unless `as_published` is called. The null
    class is the last row of the label table.
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

    def as_published(self) -> None:
        """Computes as the authors' code does, for which the weights were trained; diffusers departs in four places.

        The frequencies of the time embedding are 10000^(-i/128) and not 10000^(-i/127), every LayerNorm has an epsilon
        of 1e-6, classifier-free guidance acts on the first three latent channels, and 50 steps of DDIM are at 999, 979,
        958, ... 20, 0 and not at 980, 960, ... 0.
        """
        for block in self.transformer.transformer_blocks:
            block.norm1.emb.time_proj.downscale_freq_shift = 0
            block.norm3.eps = 1e-6
        self.guided_channels, self.respaced = 3, True

    def predict(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The network's raw output, with its learned variance."""
        noisy = x_t.to(self.transformer.dtype)
        rows, learned = condition.values.get("class"), condition.values.get("embedding")
        if learned is None:
            raw = self.transformer(noisy, timestep=t, class_labels=rows).sample
        else:
            with _told(self._embedders(), learned.to(noisy.dtype)):
                nothing = torch.zeros(len(noisy), dtype=torch.int64, device=noisy.device)
                raw = self.transformer(noisy, timestep=t, class_labels=nothing).sample
        return raw

    def learnable(self, condition: Condition) -> Condition:
        """The classes' embedding in every block, [n, blocks, d]: diffusers gives each block a table of its own."""
        rows = condition.values["class"]
        tables = [embedder.embedding_table(rows) for embedder in self._embedders()]
        return Condition({"embedding": torch.stack(tables, 1).float()})

    def _embedders(self) -> list[Any]:
        return [block.norm1.emb.class_embedder for block in self.transformer.transformer_blocks]

    def blank(self, count: int) -> Condition:
        """The first class."""
        return Condition({"class": torch.zeros(count, dtype=torch.int64, device=self.device)})

    def condition(self, requests: Sequence[Request]) -> Condition:
        """The classes' rows in the label table; raises PotstillError for a class that the prior does not know."""
        rows = [self.class_row(request.key, request.name) for request in requests]
        return Condition({"class": torch.tensor(rows, device=self.device)})

    def null_condition(self, condition: Condition) -> Condition:
        """The null class for every image."""
        null = self.transformer.config.num_embeds_ada_norm
        if "class" in condition.values:
            return Condition({"class": torch.full_like(condition.values["class"], null)})
        count = len(condition.values["embedding"])
        return self.learnable(Condition({"class": torch.full((count,), null, device=self.device)}))

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


@contextmanager
def _told(embedders: Sequence[Any], learned: Tensor) -> Iterator[None]:
    """Inside, block i's label table answers with its part of `learned` [n, blocks, d], whatever is asked."""
    answers = [learned[:, place] for place in range(len(embedders))]
    hooks = [
        embedder.register_forward_hook(lambda module, inputs, output, answer=answer: answer)
        for embedder, answer in zip(embedders, answers, strict=True)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()

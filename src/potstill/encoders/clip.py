"""Any transformers CLIP as an encoder: unit embeddings of images, differentiable, and of texts, cached on disk."""

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from potstill.bundled import resolve, whence
from potstill.core.blocks import in_blocks
from potstill.core.errors import PotstillError
from potstill.core.files import write_whole
from potstill.core.fingerprint import fingerprint
from potstill.core.pixels import require_floats
from potstill.data.real import Split
from potstill.encoders.preprocess import Preprocess

TEXTS_AT_ONCE = 256


class Encoder:
    """A frozen CLIP of any size: both towers with projections.

    Images and texts come out as unit vectors [n, d] in float32, whatever the model computes in. Text embeddings
    are kept in `cache` (default: $POTSTILL_CACHE, else ~/.cache/potstill) under the hash of the model's weights
    and the texts, so that a bank is embedded once.
    """

    def __init__(self, model: Any, tokenizer: Any, processor: Any, *, cache: Path | None = None) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.preprocess = Preprocess.of(processor)
        home = os.environ.get("POTSTILL_CACHE") or Path.home() / ".cache" / "potstill"
        self.cache = cache or Path(home) / "texts"
        self._fingerprint: str | None = None

    @classmethod
    def from_pretrained(
        cls,
        source: str,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        cache: Path | None = None,
    ) -> "Encoder":
        """Opens a CLIP by shipped name, folder or hub id; raises PotstillError where it can't be loaded."""
        from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

        place = resolve(source)
        try:
            model: Any = CLIPModel.from_pretrained(place, dtype=dtype, use_safetensors=True)
            tokenizer = CLIPTokenizer.from_pretrained(place)
            processor = CLIPImageProcessor.from_pretrained(place)
        except (OSError, ValueError) as error:
            raise PotstillError(f"cannot load the CLIP {source!r} from {whence(source)}: {error}") from error
        return cls(model.to(device), tokenizer, processor, cache=cache)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.model.device

    @property
    def fingerprint(self) -> str:
        """The hex SHA-256 of the model's weights and vocabulary."""
        if self._fingerprint is None:
            vocabulary = repr(sorted(self.tokenizer.get_vocab().items())).encode()
            self._fingerprint = hashlib.sha256(vocabulary + fingerprint([self.model]).encode()).hexdigest()
        return self._fingerprint

    def images(self, pixels: Tensor) -> Tensor:
        """Unit embeddings [n, d] of pixels [n, 3, h, w] in [0, 1]; the gradient reaches the pixels."""
        inputs = self.preprocess(require_floats(pixels).to(self.device)).to(self.model.dtype)
        features = self.model.get_image_features(pixel_values=inputs)
        return F.normalize(_embedding(features).float(), dim=-1)

    @torch.no_grad()
    def images_of(self, split: Split, rows: Sequence[int]) -> Tensor:
        """Unit embeddings [n, d] of some images of a data set."""
        embeddings = []
        for start in range(0, len(rows), 64):
            pixels = split.pixels(rows[start : start + 64], self.preprocess.short_side).float() / 255
            embeddings.append(in_blocks(self.images, pixels.to(self.device)))
        return torch.cat(embeddings)

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings [n, d] of texts, from the cache where they are in it."""
        content = "\x1f".join([self.fingerprint, str(self.model.dtype), *texts])
        file = self.cache / f"{hashlib.sha256(content.encode()).hexdigest()}.safetensors"
        if file.exists():
            try:
                return load_file(file)["texts"].to(self.device)
            except (SafetensorError, KeyError):
                file.unlink()
        groups = [texts[start : start + TEXTS_AT_ONCE] for start in range(0, len(texts), TEXTS_AT_ONCE)]
        embedded = torch.cat([self._embed(group) for group in groups])
        with suppress(PotstillError):  # where nothing can be written, texts are embedded each time
            write_whole(file, lambda partial: save_file({"texts": embedded.cpu().contiguous()}, partial))
        return embedded

    @torch.no_grad()
    def _embed(self, texts: Sequence[str]) -> Tensor:
        limit = self.model.config.text_config.max_position_embeddings
        tokens = self.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=limit, return_tensors="pt"
        )
        features = self.model.get_text_features(
            input_ids=tokens.input_ids.to(self.device), attention_mask=tokens.attention_mask.to(self.device)
        )
        return F.normalize(_embedding(features).float(), dim=-1)


def _embedding(features: Any) -> Tensor:
    return features if isinstance(features, Tensor) else features.pooler_output

"""A tiny autoencoder's decoder, for looks that need no fine detail."""

import typing
from typing import Any

import torch
from torch import Tensor

from potstill.bundled import resolve, whence
from potstill.core.errors import PotstillError


def load_tiny(source: str, device: str, dtype: torch.dtype) -> Any:
    """Opens a diffusers AutoencoderTiny by shipped name, folder or hub id, frozen."""
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

    place = resolve(source)
    try:
        model = AutoencoderTiny.from_pretrained(place, dtype=dtype, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise PotstillError(
            f"cannot load the AutoencoderTiny {source!r} from {whence(source)}: {error}"
        ) from error
    return typing.cast(Any, model).eval().requires_grad_(False).to(device)


def decode_tiny(model: Any, latents: Tensor) -> Tensor:
    """Pixels around [0, 1] of latents in the prior's scaled units, which are the tiny autoencoder's own."""
    return model.decode(latents.to(model.dtype)).sample.float() / 2 + 0.5

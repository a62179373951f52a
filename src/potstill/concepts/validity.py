"""How well a phrase fits the real images of its class."""

import torch
from torch import Tensor


def validity(images: Tensor, phrases: Tensor) -> Tensor:
    """The cosine between the mean image embedding of a class and each of its phrases.

    Source: CONCORD, Eq. 10. Images [n, d] and phrases [p, d] are unit vectors; returns [p] in [-1, 1].
    """
    return torch.nn.functional.normalize(images.mean(0), dim=-1) @ phrases.T


def most_valid(images: Tensor, phrases: Tensor, keep: int) -> list[int]:
    """The positions of the `keep` most valid phrases, best first; ties go to the earlier phrase."""
    return validity(images, phrases).argsort(descending=True, stable=True)[:keep].tolist()

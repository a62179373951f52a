"""Images that hold several smaller ones, and how these are seen."""

from torch import Tensor
from torch.nn import functional


def unfolded(images: Tensor, parts: int) -> Tensor:
    """Float images [n, c, s, s] cut into parts x parts tiles, each enlarged to s px: [n * parts^2, c, s, s].

    Source: IDM (Zhao et al. 2023, arXiv:2307.09742), partitioning and expansion, bilinear. The tiles of an image
    follow each other, row by row; s must be a multiple of `parts`.
    """
    if parts == 1:
        return images
    count, channels, size, _ = images.shape
    tile = size // parts
    tiles = images.reshape(count, channels, parts, tile, parts, tile).permute(0, 2, 4, 1, 3, 5)
    flat = tiles.reshape(count * parts**2, channels, tile, tile)
    return functional.interpolate(flat, (size, size), mode="bilinear", align_corners=False)


def folded(images: Tensor, parts: int) -> Tensor:
    """Float images [n * parts^2, c, s, s], each shrunk to s / parts px and laid as tiles: [n, c, s, s]."""
    if parts == 1:
        return images
    size = images.shape[-1]
    tile = size // parts
    small = functional.interpolate(images, (tile, tile), mode="bilinear", align_corners=False)
    tiles = small.reshape(-1, parts, parts, images.shape[1], tile, tile).permute(0, 3, 1, 4, 2, 5)
    return tiles.reshape(-1, images.shape[1], size, size)

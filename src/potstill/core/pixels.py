"""What networks take for pixels."""

from torch import Tensor

from potstill.core.errors import PotstillError


def require_floats(pixels: Tensor) -> Tensor:
    """The pixels themselves; raises PotstillError for integers, which are no values in [0, 1]."""
    if not pixels.is_floating_point():
        raise PotstillError(f"pixels must be floats in [0, 1], not {pixels.dtype}: divide uint8 by 255")
    return pixels

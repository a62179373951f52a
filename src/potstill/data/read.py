"""One image file, whatever its kind, as upright 8-bit RGB; and as the square that a network sees."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from potstill.core.errors import PotstillError


class UnreadableImage(PotstillError):
    """An image that cannot be decoded; its message names the file and why."""


def read_image(source: Path | bytes, name: str | None = None) -> Image.Image:
    """Decodes a file, or its bytes, to RGB, turned upright by its EXIF; of an animation the first frame.

    `name` stands for the image in messages, by default its path. Colour profiles are ignored, as is usual in
    training. Raises UnreadableImage for what is no image, truncated, broken, larger than PIL's limit against
    decompression bombs, or of values without a known range (see `to_rgb`).
    """
    return _decode(source, name, whole=True)[0]


def image_size(source: Path | bytes, name: str | None = None) -> tuple[int, int]:
    """Width and height as stored; proves that `read_image` will succeed, raising what it would raise.

    PIL's own `verify` passes truncated JPEGs, so everything is decoded. A JPEG's every byte is, but into an
    image of an eighth of the size, which is quicker.
    """
    return _decode(source, name, whole=False)[1]


def to_rgb(image: Image.Image) -> Image.Image:
    """Any PIL mode as 8-bit RGB; grey becomes three equal channels.

    Transparency is laid on white: what lies beneath a clear pixel is arbitrary, mostly black, and cut-out
    pictures are made to be seen on white pages. 16-bit grey (modes I;16 and I, 0 to 65535) is divided by 257
    and rounded. Float grey is taken as [0, 1] where nothing exceeds 1, else as [0, 255]. Raises ValueError
    outside these ranges.
    """
    if image.mode.startswith("I") or image.mode == "F":
        return _narrow(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    straight = image.convert("LA") if image.mode == "La" else image
    clear = straight.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")


def square(image: Image.Image, size: int) -> Image.Image:
    """The short side resized to `size`, bicubic with antialiasing, then the centre crop; a no-op where equal.

    Resamples the crop's region alone, at the positions of torchvision's Resize and CenterCrop, so that a
    picture of one pixel by a million costs nothing.
    """
    if image.size == (size, size):
        return image
    short = min(image.size)
    spans = []
    for side in image.size:
        scaled = size * side // short
        first = round((scaled - size) / 2)
        spans.append((first * side / scaled, min((first + size) * side / scaled, side)))
    (left, right), (top, bottom) = spans
    return image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, right, bottom))


def _decode(source: Path | bytes, name: str | None, *, whole: bool) -> tuple[Image.Image, tuple[int, int]]:
    label = name or (str(source) if isinstance(source, Path) else "the image")
    if isinstance(source, Path) and source.exists() and not source.is_file():
        raise UnreadableImage(f"cannot read {label}: not a file")
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            size = image.size
            if not whole:
                image.draft(None, (1, 1))
            return to_rgb(ImageOps.exif_transpose(image)), size
    except MemoryError:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage(f"cannot read {label}: not an image of a known format") from None
    except (
        Exception
    ) as error:  # PIL's decoders raise anything from SyntaxError to struct.error on broken bytes
        raise UnreadableImage(f"cannot read {label}: {error or type(error).__name__}") from error


def _narrow(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    low, high, most = values.min(), values.max(), 255 if image.mode == "F" else 65535
    if not (low >= 0 and high <= most):
        raise ValueError(f"its grey values run from {low} to {high}; 0 to {most} is understood")
    if image.mode == "F":
        grey = np.rint(values * 255 if high <= 1 else values).astype(np.uint8)
    else:
        grey = np.rint(values / 257).astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey[values == clear] = 255
    return Image.fromarray(grey).convert("RGB")

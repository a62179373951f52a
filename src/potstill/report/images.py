"""Images small enough to travel inside a page."""

import base64
import io
from pathlib import Path

from PIL import Image

from potstill.core.errors import PotstillError

LOSSLESS = 64
LARGEST = 192


def data_uri(file: Path) -> tuple[str, int]:
    """An image as a data URI, and its width in px.

    Images of up to 64 px a side stay lossless; larger ones become WebP of at most 192 px a side. Raises
    PotstillError for a file that is not an image.
    """
    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
    except OSError as error:
        raise PotstillError(f"{file} cannot be read as an image: {error}") from None
    encoded = io.BytesIO()
    if max(image.size) <= LOSSLESS:
        image.save(encoded, format="PNG", optimize=True)
        kind = "png"
    else:
        image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
        image.save(encoded, format="WEBP", quality=82, method=4)
        kind = "webp"
    return f"data:image/{kind};base64,{base64.b64encode(encoded.getvalue()).decode()}", image.width

import io
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from potstill.core.errors import PotstillError
from potstill.data.read import UnreadableImage, image_size, read_image, to_rgb

RED, GREEN, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (255, 255, 255), (0, 0, 0)


def row(*pixels: tuple[int, int, int]) -> list[list[list[int]]]:
    return [[list(pixel) for pixel in pixels]]


def grey(*levels: int) -> list[list[list[int]]]:
    return row(*((level, level, level) for level in levels))


def array(values: object, dtype: str) -> Image.Image:
    return Image.fromarray(np.array([values], dtype=dtype))


def palette(transparency: bytes | int | None) -> bytes:
    image = Image.new("P", (3, 1))
    image.putpalette([*RED, *GREEN, *BLACK])
    for x in range(3):
        image.putpixel((x, 0), x)
    return encoded(image, "PNG", **({} if transparency is None else {"transparency": transparency}))


def mode_image(mode: str, *pixels: object) -> Image.Image:
    image = Image.new(mode, (len(pixels), 1))
    for x, pixel in enumerate(pixels):
        image.putpixel((x, 0), pixel)  # pyright: ignore[reportArgumentType]
    return image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    trns = chunk(b"tRNS", extra) if extra else b""
    idat = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + trns + idat + chunk(b"IEND", b"")


MODES: dict[str, tuple[bytes, list[list[list[int]]]]] = {
    "rgb png": (encoded(mode_image("RGB", RED, (1, 2, 3)), "PNG"), row(RED, (1, 2, 3))),
    "rgb bmp": (encoded(mode_image("RGB", RED, (1, 2, 3)), "BMP"), row(RED, (1, 2, 3))),
    "rgb ppm": (encoded(mode_image("RGB", RED, (1, 2, 3)), "PPM"), row(RED, (1, 2, 3))),
    "grey": (encoded(mode_image("L", 0, 7, 255), "PNG"), grey(0, 7, 255)),
    "grey, one level clear": (encoded(mode_image("L", 0, 7, 9), "PNG", transparency=7), grey(0, 255, 9)),
    "one bit": (encoded(mode_image("1", 0, 1), "PNG"), grey(0, 255)),
    "one bit tiff": (encoded(mode_image("1", 0, 1), "TIFF"), grey(0, 255)),
    "palette": (palette(None), row(RED, GREEN, BLACK)),
    "palette, one entry clear": (palette(1), row(RED, WHITE, BLACK)),
    "palette with alphas": (palette(bytes([255, 0, 51])), row(RED, WHITE, (204, 204, 204))),
    "gif, one entry clear": (
        encoded(Image.open(io.BytesIO(palette(None))), "GIF", transparency=1),
        row(RED, WHITE, BLACK),
    ),
    "alpha": (
        encoded(mode_image("RGBA", (*RED, 255), (*RED, 0), (0, 100, 200, 51)), "PNG"),
        row(RED, WHITE, (204, 224, 244)),
    ),
    "alpha webp": (
        encoded(mode_image("RGBA", (*RED, 255), (*RED, 0)), "WEBP", lossless=True, exact=True),
        row(RED, WHITE),
    ),
    "grey alpha": (encoded(mode_image("LA", (9, 255), (9, 0), (0, 51)), "PNG"), grey(9, 255, 204)),
    "one colour clear": (
        encoded(mode_image("RGB", RED, GREEN), "PNG", transparency=RED),
        row(WHITE, GREEN),
    ),
    "cmyk": (
        encoded(mode_image("CMYK", (0, 0, 0, 0), (255, 0, 0, 0), (0, 0, 0, 255)), "TIFF"),
        row(WHITE, (0, 255, 255), BLACK),
    ),
    "16-bit grey png": (encoded(array([0, 257, 25700, 65535], "<u2"), "PNG"), grey(0, 1, 100, 255)),
    "16-bit grey rounds": (encoded(array([128, 129, 32767, 65407], "<u2"), "PNG"), grey(0, 1, 127, 255)),
    "16-bit grey tiff": (encoded(array([0, 25700, 65535], "<u2"), "TIFF"), grey(0, 100, 255)),
    "16-bit grey big-endian tiff": (encoded(array([0, 25700, 65535], ">u2"), "TIFF"), grey(0, 100, 255)),
    "16-bit grey pgm": (b"P5 3 1 65535\n" + struct.pack(">3H", 0, 25700, 65535), grey(0, 100, 255)),
    "16-bit grey, one level clear": (
        png(2, 1, 16, 0, b"\0" + struct.pack(">2H", 0, 25700), struct.pack(">H", 0)),
        grey(255, 100),
    ),
    "16-bit colour": (png(1, 1, 16, 2, b"\0" + struct.pack(">3H", 0, 25700, 65535)), row((0, 100, 255))),
    "32-bit integers": (encoded(array([0, 25700, 65535], "<i4"), "TIFF"), grey(0, 100, 255)),
    "float to 1": (encoded(array([0, 0.2, 1], "<f4"), "TIFF"), grey(0, 51, 255)),
    "float to 255": (encoded(array([0, 51.4, 255], "<f4"), "TIFF"), grey(0, 51, 255)),
}


@pytest.mark.parametrize("name", MODES)
def test_every_kind_reads_as_its_known_rgb(name: str, tmp_path: Path) -> None:
    data, expected = MODES[name]
    path = tmp_path / "image"
    path.write_bytes(data)
    for source in (path, data):
        image = read_image(source)
        assert image.mode == "RGB"
        assert np.asarray(image).tolist() == expected
        assert image_size(source) == image.size


def test_cmyk_jpeg_reads_as_its_colour() -> None:
    data = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)
    assert np.abs(np.asarray(read_image(data)).astype(int) - RED).max() <= 3


def test_lab_white_is_white() -> None:
    data = encoded(Image.new("LAB", (2, 2), (255, 128, 128)), "TIFF")
    assert np.asarray(read_image(data)).min() >= 253


@pytest.mark.parametrize("mode", ["RGBa", "La"])
def test_premultiplied_alpha_is_laid_on_white(mode: str) -> None:
    straight = mode_image("RGBA", (200, 200, 200, 255), (0, 0, 0, 51), (9, 9, 9, 0))
    image = straight.convert("RGBa") if mode == "RGBa" else straight.convert("LA").convert("La")
    assert np.asarray(to_rgb(image)).tolist() == grey(200, 204, 255)


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (2, 2), colour) for colour in (RED, GREEN)]
    for kind in ("GIF", "PNG", "TIFF"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert read_image(data).getpixel((0, 0)) == RED


# EXIF 2.3, tag 0x0112: which side of the upright picture the stored row 0 and the stored column 0 are.
SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def stored(upright: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    height, width = upright.shape[:2]
    place = {"top": lambda k: k, "left": lambda k: k, "bottom": lambda k: height - 1 - k}
    place["right"] = lambda k: width - 1 - k
    row_side, column_side = SIDES[orientation]
    swapped = row_side in ("left", "right")
    rows, columns = (width, height) if swapped else (height, width)
    out = np.zeros((rows, columns, 3), dtype=np.uint8)
    for r in range(rows):
        for c in range(columns):
            along_row, along_column = place[row_side](r), place[column_side](c)
            y, x = (along_column, along_row) if swapped else (along_row, along_column)
            out[r, c] = upright[y, x]
    return out


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", SIDES)
def test_exif_turns_the_picture_upright(orientation: int, kind: str) -> None:
    upright = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(Image.fromarray(stored(upright, orientation)), kind, exif=exif, **options)
    assert np.array_equal(np.asarray(read_image(data)), upright)


@pytest.mark.parametrize("orientation", SIDES)
def test_exif_turns_jpegs_upright(orientation: int) -> None:
    quarters = np.array(
        [[[250, 0, 0], [0, 250, 0], [0, 0, 250]], [[0, 0, 0], [250] * 3, [120] * 3]], dtype=np.uint8
    )
    upright = quarters.repeat(16, axis=0).repeat(16, axis=1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(
        Image.fromarray(stored(upright, orientation)), "JPEG", exif=exif, quality=95, subsampling=0
    )
    read = np.asarray(read_image(data)).astype(int)
    assert read.shape == upright.shape
    assert np.abs(read - upright).mean() < 3


def noise(kind: str, **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), kind, **options)


BAD: dict[str, bytes] = {
    "empty": b"",
    "text": b"not an image at all",
    "truncated jpeg": noise("JPEG")[:-900],
    "jpeg cut in half": noise("JPEG")[: len(noise("JPEG")) // 2],
    "truncated progressive jpeg": noise("JPEG", progressive=True)[:-900],
    "truncated png": noise("PNG")[:-900],
    "truncated gif": noise("GIF")[:-900],
    "truncated webp": noise("WEBP")[:-900],
    "truncated bmp": noise("BMP")[:-900],
    "truncated tiff": noise("TIFF")[:900],
    "integers beyond 16 bit": encoded(array([0, 65536], "<i4"), "TIFF"),
    "integers below 0": encoded(array([-1, 7], "<i4"), "TIFF"),
    "floats beyond 255": encoded(array([0, 256], "<f4"), "TIFF"),
    "floats below 0": encoded(array([-0.5, 1], "<f4"), "TIFF"),
    "not a number": encoded(array([np.nan, 1], "<f4"), "TIFF"),
}


@pytest.mark.parametrize("reader", [read_image, image_size])
@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_named(name: str, reader: Callable[..., object], tmp_path: Path) -> None:
    path = tmp_path / "some cat.jpg"
    path.write_bytes(BAD[name])
    with pytest.raises(UnreadableImage, match="some cat.jpg") as caught:
        reader(path)
    assert "BytesIO" not in str(caught.value)
    with pytest.raises(UnreadableImage, match="^cannot read row 7: "):
        reader(BAD[name], "row 7")


def test_pils_own_verify_would_pass_a_truncated_jpeg() -> None:
    with Image.open(io.BytesIO(BAD["jpeg cut in half"])) as image:
        image.verify()


def test_the_size_is_told_of_what_can_be_read() -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        assert image_size(noise(kind)) == (48, 64)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match=r"gone\.png.*[Nn]o such file"):
        read_image(tmp_path / "gone.png")


@pytest.mark.parametrize("reader", [read_image, image_size])
def test_a_decompression_bomb_is_refused_by_name(reader: Callable[..., object], tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(20000, 20000, 1, 0, b"\0"))
    with pytest.raises(UnreadableImage, match=r"bomb\.png.*decompression bomb"):
        reader(path)


def test_the_error_survives_a_process_border() -> None:
    error = pickle.loads(pickle.dumps(UnreadableImage("cannot read x.png: why")))
    assert isinstance(error, UnreadableImage) and str(error) == "cannot read x.png: why"

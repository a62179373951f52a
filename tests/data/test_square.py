import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from potstill.data.read import square

RED = (255, 0, 0)


def smooth(width: int, height: int) -> Image.Image:
    """Of mid tones, so that no overshoot is clipped between PIL's two passes."""
    rng = np.random.default_rng(width * 1000 + height)
    small = Image.fromarray(rng.integers(64, 192, (5, 4, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BILINEAR)


def whole_then_crop(image: Image.Image, size: int) -> Image.Image:
    """Torchvision's Resize and CenterCrop, by their published rounding rules."""
    width, height = image.size
    short, long = min(image.size), max(image.size)
    other = int(size * long / short)
    new = (size, other) if width <= height else (other, size)
    resized = image.resize(new, Image.Resampling.BICUBIC)
    left, top = round((new[0] - size) / 2.0), round((new[1] - size) / 2.0)
    return resized.crop((left, top, left + size, top + size))


@settings(max_examples=60, deadline=None)
@given(width=st.integers(1, 90), height=st.integers(1, 90), size=st.integers(1, 48))
def test_square_is_resize_then_centre_crop(width: int, height: int, size: int) -> None:
    image = smooth(width, height)
    ours, theirs = square(image, size), whole_then_crop(image, size)
    assert ours.size == (size, size)
    # PIL rounds to 8 bits after each of its two passes, and may take them in another order.
    assert np.abs(np.asarray(ours).astype(int) - np.asarray(theirs).astype(int)).max() <= 2


@pytest.mark.parametrize(("side", "size"), [(90, 32), (64, 32), (20, 32)])
def test_square_filters_as_an_independent_antialiased_bicubic(side: int, size: int) -> None:
    image = smooth(side, side)
    ours = torch.from_numpy(np.array(square(image, size))).permute(2, 0, 1).double()
    exact = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].double()
    exact = torch.nn.functional.interpolate(exact, size=(size, size), mode="bicubic", antialias=True)[0]
    # Half a level is rounded off after each pass; the second pass's weights sum to at most 1.3 in magnitude.
    assert (ours - exact).abs().max() <= 0.5 + 0.5 * 1.3


def test_square_leaves_a_square_of_that_size_alone() -> None:
    image = smooth(32, 32)
    assert square(image, 32) is image


@pytest.mark.parametrize("shape", [(48, 32), (32, 49)])
def test_square_only_crops_where_the_short_side_fits(shape: tuple[int, int]) -> None:
    image = smooth(*shape)
    assert np.array_equal(np.asarray(square(image, 32)), np.asarray(whole_then_crop(image, 32)))


def test_a_pixel_wide_strip_costs_no_memory() -> None:
    assert square(Image.new("RGB", (1, 1_000_000), RED), 224).getpixel((100, 100)) == RED

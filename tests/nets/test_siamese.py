"""Siamese augmentation and colours against the same change of one image, written out slowly."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.nets import siamese
from potstill.nets.augment import Augment, Shift
from potstill.nets.colour import VALUES, VECTORS, Jitter, Lighting, grey
from potstill.nets.layers import DEVIATION, MEAN
from potstill.nets.siamese import OPERATIONS, Siamese


def pictures(count: int = 6, size: int = 16, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, size, size, generator=generator("pictures", seed))


def numbers(*given: list[float]) -> Callable[[], Tensor]:
    """A draw that gives these in turn, one list an image."""
    left = iter([torch.tensor(values) for values in given])
    return lambda: next(left)


SHARES = torch.eye(6)


@pytest.mark.parametrize("name", OPERATIONS)
class TestEveryOperation:
    def test_the_gradient_reaches_the_pixels(self, name: str) -> None:
        images = pictures().requires_grad_()
        changed, shares = Siamese(operations=(name,))(images, SHARES, generator(1))
        assert changed.shape == images.shape and shares is SHARES
        changed.square().sum().backward()
        assert images.grad is not None and images.grad.abs().sum() > 0

    def test_shared_draws_do_not_depend_on_the_batch(self, name: str) -> None:
        images, change = pictures(), Siamese(operations=(name,), shared=True)
        whole = change(images, SHARES, generator(2))[0]
        part = change(images[3:5], SHARES[3:5], generator(2))[0]
        torch.testing.assert_close(whole[3:5], part)

    def test_images_are_changed_each_in_its_own_way(self, name: str) -> None:
        same = pictures(1).expand(40, -1, -1, -1)
        changed = Siamese(operations=(name,))(same, torch.eye(40), generator(3))[0]
        assert len({tuple(image.flatten()[::7].tolist()) for image in changed}) > 1


def test_operations_are_equally_likely() -> None:
    """Among the operations drawn from the same seeds, each turns up as often as any other."""
    seen = [Siamese()(pictures(1), torch.eye(1), generator("operation", seed))[0] for seed in range(1200)]
    alone = {
        name: [
            torch.equal(
                Siamese(operations=(name,) * 6)(pictures(1), torch.eye(1), generator("operation", seed))[0],
                seen[seed],
            )
            for seed in range(1200)
        ]
        for name in ("color", "cutout", "rotate")
    }
    for name, hits in alone.items():
        assert abs(sum(hits) / 1200 - 1 / 6) < 4 * math.sqrt(5 / 36 / 1200), name


def test_color_by_hand() -> None:
    x = pictures(1).double()
    changed = siamese.color(x, numbers([0.75], [0.3], [0.9]))
    y = x + 0.25
    middle = y.mean(1, keepdim=True)
    y = (y - middle) * 0.6 + middle
    expected = (y - y.mean()) * 1.4 + y.mean()
    torch.testing.assert_close(changed, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("down", "right"), [(0.0, 0.0), (0.5, 0.999), (0.3, 0.7)])
def test_crop_shifts_and_leaves_the_mean_colour(down: float, right: float) -> None:
    x = pictures(1, 32)
    moved = siamese.crop(x, numbers([down], [right]))
    dy, dx = int(down * 9) - 4, int(right * 9) - 4
    expected = torch.from_numpy(ndimage.shift(x[0].numpy(), (0, -dy, -dx), order=0))
    torch.testing.assert_close(moved[0], expected)
    framed = Siamese(operations=("crop",))(torch.ones(1, 3, 32, 32), torch.eye(1), generator(9))[0]
    colours = {tuple(round(v, 4) for v in pixel) for pixel in framed[0].flatten(1).T.tolist()}
    assert colours <= {(1.0, 1.0, 1.0), tuple(round(v, 4) for v in MEAN)} and len(colours) == 2


def test_cutout_empties_half_a_side() -> None:
    changed = siamese.cutout(torch.ones(2, 3, 16, 16), numbers([0.5, 0.0], [0.5, 0.0]))
    assert (changed[0, 0] == 0).sum() == 64
    assert (changed[1, 0, :4, :4] == 0).all() and (changed[1, 0] == 0).sum() == 16
    last = siamese.cutout(torch.ones(1, 3, 16, 16), numbers([0.999], [0.999]))
    assert (last[0, 0, 12:, 12:] == 0).all() and (last[0, 0] == 0).sum() == 16, (
        "DSA: even squares reach the rim"
    )


def test_flip_and_scale_and_rotation_against_known_pictures() -> None:
    x = pictures(1, 33)
    torch.testing.assert_close(siamese.flip(x, numbers([0.2])), x.flip(3))
    torch.testing.assert_close(siamese.flip(x, numbers([0.7])), x)
    middle = (1 - 1 / 1.2) / (1.2 - 1 / 1.2)
    torch.testing.assert_close(siamese.scale(x, numbers([middle], [middle])), x, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(siamese.rotate(x, numbers([0.5])), x, rtol=1e-4, atol=1e-4)
    smooth = torch.from_numpy(ndimage.gaussian_filter(x[0].numpy(), (0, 3, 3)))[None]
    turned = siamese.rotate(smooth, numbers([1.0]))[0].numpy()
    by_scipy = ndimage.rotate(smooth[0].numpy(), 15, axes=(2, 1), reshape=False, order=1)
    other = ndimage.rotate(smooth[0].numpy(), -15, axes=(2, 1), reshape=False, order=1)
    inner = (slice(None), slice(8, 25), slice(8, 25))
    assert min(np.abs(turned[inner] - found[inner]).max() for found in (by_scipy, other)) < 0.01


@pytest.mark.parametrize(("across", "down"), [(0.0, 1.0), (1.0, 0.0), (0.4, 0.9)])
def test_scale_takes_each_axis_by_its_own_factor(across: float, down: float) -> None:
    """Of the picture of its own coordinates every pixel is multiplied: from 1 / 1.2 to 1.2."""
    places = (2 * torch.arange(33) + 1) / 33 - 1
    x = torch.stack((places.expand(33, 33), places[:, None].expand(33, 33)))[None]
    factors = [1 / 1.2 + draw * (1.2 - 1 / 1.2) for draw in (across, down)]
    assert min(factors) >= 0.8333 and max(factors) <= 1.2
    found = siamese.scale(x, numbers([across], [down]))
    inner = (slice(None), slice(None), slice(4, 29), slice(4, 29))
    wanted = x * torch.tensor(factors)[None, :, None, None]
    torch.testing.assert_close(found[inner], wanted[inner], rtol=1e-4, atol=1e-5)


def test_it_works_on_normalised_pixels() -> None:
    x = pictures(1).double()
    mean, deviation = (torch.tensor(v).double()[None, :, None, None] for v in (MEAN, DEVIATION))
    draw = generator(5)
    changed = Siamese(operations=("color",))(x, torch.eye(1), draw)[0]
    again = generator(5)
    torch.randint(1, (), generator=again)
    three = [torch.rand(1, generator=again).tolist() for _ in range(3)]
    expected = siamese.color((x - mean) / deviation, numbers(*three)) * deviation + mean
    torch.testing.assert_close(changed, expected, rtol=1e-5, atol=1e-6)


def test_an_unknown_operation() -> None:
    with pytest.raises(PotstillError, match="unknown operation of Siamese augmentation 'colour'.*color"):
        Siamese(operations=("colour",))


def test_jitter_by_hand() -> None:
    """Each image alone, in the order and with the factors that the generator gives."""
    x = pictures(3).double()
    changed, _ = Jitter(strength=0.4)(x, SHARES, generator(7))
    again = generator(7)
    expected = x.clone()
    for kind in torch.randperm(3, generator=again).tolist():
        factors = (0.6 + 0.8 * torch.rand(3, generator=again)).double()
        for place in range(3):
            image = expected[place]
            luma = 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]
            mixed = {
                0: torch.zeros_like(image),
                1: torch.full_like(image, luma.mean().item()),
                2: luma.expand(3, -1, -1),
            }
            expected[place] = factors[place] * image + (1 - factors[place]) * mixed[kind]
    torch.testing.assert_close(changed, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(grey(torch.ones(1, 3, 2, 2)), torch.ones(1, 1, 2, 2))


def test_lighting_has_the_covariance_of_imagenets_colours() -> None:
    x = torch.zeros(20000, 3, 1, 1)
    added = Lighting(strength=0.1)(x, torch.empty(0), generator(1))[0][:, :, 0, 0].double()
    vectors, values = torch.tensor(VECTORS).double(), torch.tensor(VALUES).double()
    expected = 0.01 * vectors @ values.square().diag() @ vectors.T
    torch.testing.assert_close(added.T.cov(), expected, rtol=0.05, atol=1e-5)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(3).double(), rtol=0, atol=2e-3)


def test_a_shift_moves_whole_pixels_over_black() -> None:
    x = pictures(50, 12)
    change: Augment = Shift(most=2)
    moved, _ = change(x, torch.eye(50), generator(4))
    places = set()
    for image, result in zip(x, moved, strict=True):
        found = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            if torch.equal(result, torch.from_numpy(ndimage.shift(image.numpy(), (0, dy, dx), order=0)))
        ]
        assert len(found) == 1
        places.add(found[0])
    assert len(places) > 12
    with pytest.raises(PotstillError, match="at least 1 px, not 0"):
        Shift(most=0)

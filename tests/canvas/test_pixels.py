"""Pixels begin where they should, tiles are cut and laid right."""

import pytest
import torch

from potstill.canvas.pixels import Pixels
from potstill.canvas.start import real_starts
from potstill.core.errors import PotstillError
from potstill.core.progress import silent
from potstill.core.seeds import generator
from potstill.data.real import RealData
from potstill.distilled import Slot
from potstill.distilled.mosaic import folded, unfolded
from potstill.methods.random import Random

SLOTS = [Slot(key, index) for key in ("2", "3", "5") for index in range(2)]
ALL = slice(0, len(SLOTS))


def test_real_starts_are_the_random_images(few: RealData) -> None:
    surface = Pixels().prepare(few, SLOTS, seed=3, device="cpu")
    drawn = Random().prepare(few, seed=3, images_per_class=2, device="cpu").make(SLOTS, silent)
    wanted = torch.stack([one.image for one in drawn]).float() / 255
    torch.testing.assert_close(surface.images(ALL), wanted, rtol=0, atol=1e-6)
    torch.testing.assert_close(surface.kept(ALL), wanted, rtol=0, atol=1e-6)


def test_noise_is_standard_normal_in_normalised_colours_and_a_slots_own(few: RealData) -> None:
    noise = Pixels(start="noise", size=16)
    surface = noise.prepare(few, SLOTS, seed=0, device="cpu")
    values = surface.learned["pixels"].value.detach()
    assert values.shape == (6, 3, 16, 16) and abs(values.std().item() - 1) < 0.05
    alone = noise.prepare(few, SLOTS[4:5], seed=0, device="cpu")
    assert torch.equal(alone.pixels[0], surface.pixels[4])


def test_a_tile_is_the_image_it_was_made_of() -> None:
    """A plane of constant slope survives shrinking and enlarging but at its rim."""
    ramp = torch.linspace(0, 1, 16).expand(8, 3, 16, 16) + torch.arange(8)[:, None, None, None]
    back = unfolded(folded(ramp, 2), 2)
    assert back.shape == ramp.shape
    torch.testing.assert_close(back[:, :, :, 2:-2], ramp[:, :, :, 2:-2], rtol=0, atol=0.02)


def test_tiles_of_a_slot_follow_each_other_row_by_row() -> None:
    image = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).repeat_interleave(4, 0).repeat_interleave(4, 1)
    tiles = unfolded(image.expand(2, 3, 8, 8), 2)
    assert tiles.shape == (8, 3, 8, 8)
    assert tiles.mean((1, 2, 3)).tolist() == [1, 2, 3, 4] * 2


def test_a_slot_of_tiles_begins_from_as_many_images(few: RealData) -> None:
    surface = Pixels(parts=2).prepare(few, SLOTS, seed=0, device="cpu")
    images = real_starts(few, SLOTS, size=32, seed=0, each=4)
    assert surface.copies == 4 and len(images.flatten(1).unique(dim=0)) == 24
    torch.testing.assert_close(surface.images(ALL), unfolded(folded(images, 2), 2), rtol=0, atol=1e-6)
    torch.testing.assert_close(surface.images(slice(2, 4)), surface.images(ALL)[8:16], rtol=0, atol=0)
    assert surface.kept(ALL).shape == (6, 3, 32, 32)


def test_the_gradient_reaches_every_pixel(few: RealData) -> None:
    surface = Pixels(parts=2).prepare(few, SLOTS, seed=0, device="cpu")
    weights = torch.randn(24, 3, 32, 32, generator=generator("w"))
    (surface.images(ALL) * weights).sum().backward()
    grad = surface.learned["pixels"].value.grad
    assert grad is not None and (grad != 0).float().mean() > 0.99


def test_what_is_refused(few: RealData) -> None:
    with pytest.raises(PotstillError, match="32 px cannot be cut into 3 x 3 tiles"):
        Pixels(parts=3).prepare(few, SLOTS, seed=0, device="cpu")
    many = [Slot("2", 400)]
    with pytest.raises(PotstillError, match="class '2' of digits has 400 training images, fewer than 401"):
        Pixels().prepare(few, many, seed=0, device="cpu")


def test_the_rate_is_that_of_dc_and_dsa() -> None:
    """Their code's lr_img, which cifar10-dc and cifar10-dsa take as it is."""
    assert Pixels().rate == 0.1

"""The light variation against scipy's interpolation at the same places."""

import numpy as np
import torch
from scipy import ndimage

from worlds.digits.augment import test_pixels as unseen
from worlds.digits.augment import train_pixels, vary


def test_variation_is_the_affine_map_it_says():
    pixels = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    found = vary(pixels, torch.Generator().manual_seed(2))
    turn, scale, shear, right, down = (
        torch.rand(5, 3, generator=torch.Generator().manual_seed(2)).double() * 2 - 1
    )
    rows, columns = np.mgrid[:32, :32]
    for place in range(3):
        y, x = (rows + 0.5) / 16 - 1, (columns + 0.5) / 16 - 1
        angle, size = 0.15 * turn[place].item(), 1 + 0.1 * scale[place].item()
        tilt = 0.1 * shear[place].item() - np.sin(angle) / size
        across = np.cos(angle) / size * x + tilt * y + right[place].item() / 8
        along = np.sin(angle) / size * x + np.cos(angle) / size * y + down[place].item() / 8
        asked = [(along + 1) * 16 - 0.5, (across + 1) * 16 - 0.5]
        image = np.pad(pixels[place, 0].double().numpy(), 1)
        slow = ndimage.map_coordinates(image, np.array(asked) + 1, order=1, mode="constant")
        assert np.abs(found[place, 0].numpy() - slow).max() < 1e-4


def test_variation_stays_in_range_and_changes_each_image():
    pixels, _ = train_pixels()
    found = vary(pixels[:8].contiguous(), torch.Generator().manual_seed(0))
    assert 0 <= found.min() and found.max() <= 1
    assert (found - pixels[:8]).abs().amax((1, 2, 3)).min() > 0.1
    assert (vary(pixels[:8], torch.Generator().manual_seed(0)) == found).all()


def test_training_never_sees_a_test_digit():
    real, others = train_pixels()[0], unseen()[0]
    assert (len(real), len(others)) == (4000, 1000)
    apart = torch.cdist(real.reshape(4000, -1)[:, :1024], others.reshape(1000, -1)[:, :1024])
    assert apart.min() > 0

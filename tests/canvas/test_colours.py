"""Whitened colours: their covariance, their inverse, and what a start and a step become."""

import pytest
import torch

from potstill.canvas.colours import EPSILON, Normalised, Whitened
from potstill.canvas.pixels import Pixels
from potstill.core.errors import PotstillError
from potstill.data.real import RealData, tensor_split
from potstill.distilled import Slot
from potstill.nets.layers import Normalise

SIZE = 8
SLOTS = [Slot("2", 0), Slot("3", 0)]


@pytest.fixture(scope="module")
def whitened(few: RealData) -> Whitened:
    return Whitened.fitted(few.train, SIZE, "cpu")


def flat(few: RealData) -> torch.Tensor:
    return few.train.pixels(None, SIZE).double().flatten(1) / 255


def test_the_covariance_of_whitened_images_is_each_eigenvalue_by_itself_and_epsilon(few, whitened) -> None:
    """S / (S + epsilon) along the same axes: numpy's covariance and singular values, not ours."""
    import numpy as np

    images = flat(few).view(-1, 3, SIZE, SIZE).float()
    seen = np.cov(whitened.of(images).flatten(1).double().numpy(), rowvar=False)
    spectrum = np.linalg.svd(np.cov(flat(few).numpy(), rowvar=False), compute_uv=False)
    np.testing.assert_allclose(
        np.linalg.svd(seen, compute_uv=False), spectrum / (spectrum + EPSILON), atol=1e-5
    )
    assert whitened.of(images).mean(0).abs().max() < 1e-5


def test_what_never_varies_is_divided_by_the_root_of_the_published_epsilon(draw) -> None:
    """Of equal images the covariance is 0, and MTT's epsilon of 0.1 alone is left."""
    image = torch.randint(256, (1, 3, 4, 4), generator=draw, dtype=torch.uint8)
    split = tensor_split(image.repeat(5, 1, 1, 1), torch.zeros(5, dtype=torch.int64), "train")
    equal = Whitened.fitted(split, 4, "cpu")
    torch.testing.assert_close(equal.matrix, torch.eye(48) / 0.1**0.5, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(equal.inverse, torch.eye(48) * 0.1**0.5, rtol=1e-5, atol=1e-5)


def test_zca_is_symmetric_and_its_inverse_undoes_it(few, whitened) -> None:
    assert torch.allclose(whitened.matrix, whitened.matrix.T, atol=1e-6)
    images = few.train.pixels(range(5), SIZE) / 255
    torch.testing.assert_close(whitened.images(whitened.of(images)), images, rtol=0, atol=1e-5)


def test_normalised_colours_are_what_nets_make_of_images(draw) -> None:
    images = torch.rand(2, 3, 4, 4, generator=draw)
    torch.testing.assert_close(Normalised.on("cpu").of(images), Normalise()(images))


def test_a_start_is_the_real_image_and_a_step_is_the_gradient_through_the_inverse_twice(few) -> None:
    """Moving whitened values by -g moves the image by -inverse inverse^T dL/dimage."""
    surface = Pixels(colours="zca", size=SIZE).prepare(few, SLOTS, seed=0, device="cpu")
    plain = Pixels(size=SIZE).prepare(few, SLOTS, seed=0, device="cpu")
    both = slice(0, 2)
    torch.testing.assert_close(surface.images(both), plain.images(both), rtol=0, atol=1e-5)
    before = surface.images(both).detach()
    (surface.images(both) ** 2).sum().backward()
    value = surface.learned["pixels"].value
    value.data -= value.grad
    inverse = surface.colours.inverse.double()
    wanted = before.double().flatten(1) - (2 * before.double().flatten(1)) @ inverse @ inverse.T
    torch.testing.assert_close(surface.images(both).double().flatten(1), wanted, rtol=0, atol=1e-4)


def test_large_images_are_refused(few) -> None:
    with pytest.raises(PotstillError, match="at most 64 px, not 65"):
        Pixels(colours="zca", size=65).prepare(few, SLOTS, seed=0, device="cpu")

import numpy as np
import pytest
import torch

from potstill.core.errors import PotstillError
from potstill.data.digits import digit_arrays, digit_split, digits
from potstill.data.source import Source


def test_the_split_is_stratified_and_disjoint() -> None:
    train, test = digit_split()
    assert len(train) == 4000 and len(test) == 1000
    assert sorted([*train, *test]) == list(range(5000))
    labels = digit_arrays()[1].numpy()
    assert np.bincount(labels[test]).tolist() == [100] * 10
    assert np.bincount(labels[train]).tolist() == [400] * 10


def test_the_data_set_is_the_split_of_the_arrays() -> None:
    data = digits()
    images, labels = digit_arrays()
    for split, rows in zip((data.train, data.test), digit_split(), strict=True):
        assert torch.equal(split.pixels(None, 32), images[torch.from_numpy(rows)])
        assert torch.equal(split.labels, labels[torch.from_numpy(rows)])
    assert data.train.ids[17] == "train/17" and data.test.ids[999] == "test/999"


def test_what_the_data_set_is() -> None:
    data = digits()
    assert data.classes.keys == tuple("0123456789")
    assert data.classes.names[3] == "handwritten three"
    assert (data.name, data.size, data.mirror) == ("digits", 32, False)
    assert len({*data.train.ids, *data.test.ids}) == 5000


def test_digits_are_white_on_black_grey_and_padded() -> None:
    pixels = digits().train.pixels(range(50), 32)
    assert torch.equal(pixels[:, 0], pixels[:, 1]) and torch.equal(pixels[:, 0], pixels[:, 2])
    assert pixels[..., :2, :].max() == 0 and pixels[..., -2:].max() == 0
    assert pixels.max() == 255 and pixels.float().mean() < 64


def test_chosen_digits_stay_unmirrored() -> None:
    chosen = digits(Source(classes="8,3"))
    assert chosen.classes.names == ("handwritten eight", "handwritten three")
    assert chosen.train.labels.bincount().tolist() == [400, 400]
    assert not chosen.mirror


def test_other_test_images_are_refused() -> None:
    with pytest.raises(PotstillError, match="its own test images"):
        digits(Source(test="somewhere"))

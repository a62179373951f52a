"""Spread against a count over all pairs."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from potstill.concepts.spread import spread


@pytest.mark.parametrize("count", [2, 3, 17])
def test_spread_is_the_mean_over_all_pairs(draw, count):
    vectors = F.normalize(torch.randn(count, 8, generator=draw).double(), dim=1)
    pairs = [float(1 - one @ other) for one, other in itertools.combinations(vectors, 2)]
    assert spread(vectors) == pytest.approx(sum(pairs) / len(pairs))


def test_equal_images_have_none_and_one_image_has_no_spread():
    vector = F.normalize(torch.ones(1, 4), dim=1)
    assert spread(vector.repeat(5, 1)) == pytest.approx(0, abs=1e-6)
    assert spread(vector) is None

"""The code of logits is right on average, as small as theory says, and keeps what a file needs."""

import math

import pytest
import torch
from torch import Tensor

from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.labels.codec import LIMIT, Codec

COUNT, CLASSES = 20_000, 6


def normal(scales: tuple[float, ...]) -> Tensor:
    """Logits whose principal components are normal, with these deviations and no sample correlation."""
    drawn = torch.randn(COUNT, len(scales), generator=generator("values")).double()
    values = torch.linalg.qr(drawn - drawn.mean(0)).Q * math.sqrt(COUNT) * torch.tensor(scales)
    ones = torch.ones(CLASSES, 1)
    others = torch.randn(CLASSES, CLASSES - 1, generator=generator("turn"))
    turn = torch.linalg.qr(torch.cat([ones, others], 1).double()).Q[:, 1:]
    return (values @ turn[:, : len(scales)].T).float()


def same(logits: Tensor) -> Tensor:
    """Shares that foretell nothing."""
    return torch.full((len(logits), CLASSES), 1 / CLASSES)


def dither(codec: Codec, count: int, name: str = "dither") -> Tensor:
    return torch.rand(count, codec.components, generator=generator(name)) - 0.5


def test_errors_are_uniform_and_right_on_average_for_every_value() -> None:
    """One row at a time, as a student sees it: many draws of dither around the same logits."""
    logits = normal((8.0, 4.0, 2.0))
    codec = Codec.fit(logits, same(logits), 6)
    many = 20_000
    for row in (0, 1, 2):
        own = logits[row].expand(many, -1)
        drawn = dither(codec, many, f"row {row}")
        told = codec.decode(codec.encode(own, same(own), drawn), drawn)
        error = told - own @ codec.basis
        assert error.abs().max() <= codec.step / 2 * 1.001
        assert (error.mean(0).abs() < 5 * codec.step / math.sqrt(12 * many)).all()
        torch.testing.assert_close(
            error.var(0), torch.full((3,), codec.step**2 / 12), rtol=0.05, atol=0, check_dtype=False
        )


@pytest.mark.parametrize("bits", [6, 9, 15])
def test_it_takes_the_bits_that_were_asked_for(bits: int) -> None:
    logits = normal((8.0, 4.0, 2.0))
    codec = Codec.fit(logits, same(logits), bits)
    words = codec.encode(logits, same(logits), dither(codec, COUNT))
    assert 32 * len(words) / COUNT == pytest.approx(bits, rel=0.01)


def test_at_many_bits_a_step_is_what_the_entropy_of_a_normal_variable_says() -> None:
    """Bits = sum of log2(deviation sqrt(2 pi e) / step), the differential entropies less the steps."""
    scales = (8.0, 4.0, 2.0)
    logits = normal(scales)
    codec = Codec.fit(logits, same(logits), 18)
    entropy = sum(math.log2(scale * math.sqrt(2 * math.pi * math.e) / codec.step) for scale in scales)
    assert entropy == pytest.approx(18, abs=0.02)


def test_what_varies_less_than_the_error_is_left_out() -> None:
    logits = normal((8.0, 4.0, 0.05))
    few = Codec.fit(logits, same(logits), 6)
    assert few.components == 2 and few.step**2 / 12 > 0.05**2
    assert Codec.fit(logits, same(logits), 30).components == 3


def test_what_shares_foretell_costs_nothing() -> None:
    shares = torch.rand(COUNT, CLASSES, generator=generator("shares"))
    shares = shares / shares.sum(1, keepdim=True)
    told = shares @ (20 * torch.randn(CLASSES, CLASSES, generator=generator("weights")))
    logits = told + 0.01 * normal((1.0,))
    codec = Codec.fit(logits, shares, 3)
    drawn = dither(codec, COUNT)
    found = codec.logits(codec.decode(codec.encode(logits, shares, drawn), drawn), shares)
    centred = logits - logits.mean(1, keepdim=True)
    assert (found - centred).abs().max() < 0.02, "against a deviation of some 7"


def test_another_dither_or_changed_words_are_noticed() -> None:
    logits = normal((8.0, 4.0, 2.0))[:500]
    codec = Codec.fit(logits, same(logits), 8)
    drawn = dither(codec, 500)
    words = codec.encode(logits, same(logits), drawn)
    with pytest.raises(PotstillError, match="labels are broken"):
        codec.decode(words, dither(codec, 500, "another"))
    words[10] ^= 1
    with pytest.raises(PotstillError, match="labels are broken"):
        codec.decode(words, drawn)


def test_far_values_are_moved_to_the_limit() -> None:
    logits = normal((8.0, 4.0, 2.0))[:500]
    codec = Codec.fit(logits, same(logits), 8)
    drawn = dither(codec, 500)
    far = 1e6 * logits
    told = codec.decode(codec.encode(far, same(far), drawn), drawn)
    assert told.abs().max() <= (LIMIT + 0.5) * codec.step

"""What Python callers may get wrong: each ends in a word about it before anything is made, or is meant all the same."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from potstill.bundled import banks
from potstill.canvas.chain import Chain
from potstill.canvas.pixels import Pixels
from potstill.concepts import ConceptBank, ConceptSpace, Vocabulary
from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.data.digits import digits
from potstill.data.matching import class_order
from potstill.data.real import Classes, tensor_split
from potstill.encoders import Encoder
from potstill.guidance import guided
from potstill.guidance.push import Pace
from potstill.methods.guided import Guided
from potstill.methods.pruning import Pruning
from potstill.methods.random import Random
from potstill.methods.terms import ConceptTerm
from potstill.objectives.trajectory import TrajectoryMatching
from potstill.pipeline import run
from potstill.plans import plan
from potstill.priors import Condition, Prior
from potstill.recipes import RECIPES
from potstill.run import distill
from potstill.sampling import sample

WORDS = Vocabulary(bank="digits", encoder="digits/clip")
REFUSED = [
    (Pixels, {"colours": "Normalised"}, "unknown Pixels colours 'Normalised'"),
    (Pixels, {"start": "Noise"}, "unknown Pixels start 'Noise'"),
    (Pixels, {"rate": float("nan")}, "rate of pixels must be positive, not nan"),
    (Chain, {"prior": "p", "residual": "Clean"}, "unknown Chain residual 'Clean'"),
    (Pruning, {"teacher": "t", "order": "Hardest"}, "unknown Pruning order 'Hardest'"),
    (TrajectoryMatching, {"buffer": "b", "unroll": "Full"}, "unknown TrajectoryMatching unroll 'Full'"),
    (Guided, {"prior": "p", "dtype": "bf16"}, "unknown Guided dtype 'bf16'"),
    (Guided, {"prior": "p", "scale": float("inf")}, "scale of guidance must be finite"),
    (Pace, {"weight": float("nan")}, "weight must be finite"),
    (ConceptTerm, {"vocabulary": WORDS, "temperature": -0.05}, "temperature must be positive, not -0.05"),
    (ConceptTerm, {"vocabulary": WORDS, "objective": "contrastiv"}, "Did you mean 'contrastive'"),
]


@pytest.mark.parametrize(("kind", "given", "message"), REFUSED)
def test_settings_are_checked_whoever_builds_them(kind: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(PotstillError, match=message):
        kind(**given)


def test_whole_numbers_of_any_kind_seed_alike() -> None:
    drawn = {torch.rand((), generator=generator(seed, "x")).item() for seed in (1, np.int64(1), True)}
    assert len(drawn) == 1
    with pytest.raises(TypeError):
        generator(1.0)  # pyright: ignore[reportArgumentType]


def test_a_mask_is_a_mask_and_pixels_are_bytes() -> None:
    train = digits().train
    ones = train.take(train.labels == 1)
    assert len(ones) == 400 and set(ones.labels.tolist()) == {1}
    assert torch.equal(train.pixels(train.labels == 1, 32), ones.pixels(None, 32))
    with pytest.raises(PotstillError, match=r"uint8 \[n, 3, h, w\], not torch.float32"):
        tensor_split(torch.rand(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64), "train")


def test_long_lists_of_classes_are_no_files(tmp_path: Path) -> None:
    keys = tuple(f"n{place:08d}" for place in range(100))
    assert class_order(",".join(keys[::-1]), Classes(keys, keys)) == keys[::-1]
    (tmp_path / "bank.jsonl").write_bytes("naïve".encode("latin-1"))
    with pytest.raises(PotstillError, match="bank.jsonl is not UTF-8"):
        ConceptBank.load(str(tmp_path / "bank.jsonl"))


@pytest.mark.parametrize("given", [{"images_per_class": 0}, {"images_per_class": 1, "batch": 0}])
def test_numbers_below_1_leave_no_folder(tmp_path: Path, given: dict[str, int]) -> None:
    with pytest.raises(PotstillError, match="must be at least 1, not 0"):
        distill(Random(), digits(), tmp_path / "set", name="n", **given)  # pyright: ignore[reportArgumentType]
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("change", [{"protocol": "rded@2"}, {"student": "convnet-33"}, {"students": 0}])
def test_a_judge_that_there_is_not_is_told_before_anything_is_made(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    with pytest.raises(PotstillError):
        run(dataclasses.replace(RECIPES["digits-random"](), **change), tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_text_is_no_list_of_values() -> None:
    with pytest.raises(PotstillError, match="must be a sequence, not the text '12'"):
        plan(RECIPES["digits-random"](), {"images_per_class": "12"})


def test_ancestral_sampling_asks_for_a_generator_an_image(tiny_dit: str) -> None:
    prior, told = Prior.from_pretrained(tiny_dit), Condition({"class": torch.tensor([1, 2])})
    with pytest.raises(PotstillError, match="2 need as many generators"):
        sample(
            prior, guided(prior, told, []), torch.zeros(2, *prior.latent_shape), steps=2, solver="ancestral"
        )


def spaces(words: Vocabulary, *orders: str) -> list[ConceptSpace]:
    encoder = Encoder.from_pretrained("digits/clip")
    return [ConceptSpace.build(words, encoder, digits().select(order.split(","))) for order in orders]


def drawn(space: ConceptSpace, key: str, index: int) -> list[tuple[str, str]]:
    draw = generator(0, "negatives", key, index)
    found = space.negatives(space.keys.index(key), draw)
    return [(space.keys[label], space.phrases[label][phrase]) for label, phrase in found]


@pytest.mark.parametrize("policy", ["weighted", "random", "similar"])
def test_the_order_of_classes_changes_no_negatives(policy: str) -> None:
    words = dataclasses.replace(WORDS, negatives=2, policy=policy)
    one, other = spaces(words, "1,2,5,7", "7,5,2,1")
    for key in one.keys:
        for index in range(5):
            assert drawn(one, key, index) == drawn(other, key, index)


def test_classes_of_one_name_leave_every_image_as_many_negatives(tmp_path: Path) -> None:
    lines = [
        line.replace("handwritten one", "handwritten zero")
        for line in banks()["digits"].read_text().splitlines()
    ]
    (tmp_path / "bank.jsonl").write_text("\n".join(lines) + "\n")
    words = dataclasses.replace(WORDS, bank=str(tmp_path / "bank.jsonl"))
    (space,) = spaces(words, "0,1,2,3")
    found = {key: {other for other, _ in drawn(space, key, 0)} for key in space.keys}
    assert {len(others) for others in found.values()} == {2}
    assert "1" not in found["0"] and "0" not in found["1"]

"""Teachers whose outputs are in another order than they list are caught, explained and mended; others are not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.data import load
from potstill.data.digits import digits
from potstill.data.foreign import foreign
from potstill.data.real import Classes
from potstill.evaluation.student import hits
from potstill.evaluation.teacher_check import check_teacher, near_chance, with_classes
from potstill.nets.fit import Training, fit
from potstill.nets.spec import Net, build
from potstill.nets.store import StoredNet, load_net, save_net

Labelled = tuple[Tensor, Tensor]


@pytest.fixture(scope="module")
def teacher() -> StoredNet:
    return load_net("digits/teacher")


@pytest.fixture(scope="module")
def some_digits() -> Labelled:
    """20 test digits of each class."""
    test = digits().test
    rows = torch.cat([test.of_class(label)[:20] for label in range(10)])
    return test.pixels(rows, 32), test.labels[rows]


def relisted(teacher: StoredNet, keys: str) -> StoredNet:
    """The same net under a config that lists its outputs in another order."""
    return replace(teacher, classes=Classes(tuple(keys), tuple(keys)))


def test_a_sound_teacher_passes(teacher: StoredNet, some_digits: Labelled) -> None:
    found = check_teacher(teacher, *some_digits, digits().classes)
    assert (found.verdict, found.order, found.n) == ("sound", None, 200)
    assert found.accuracy == hits(teacher.module, *some_digits)[0] > 0.95
    assert found.message.endswith(" of 200 real images right")


@pytest.mark.parametrize(
    ("listing", "word"),
    [("9876543210", "data"), ("5093718246", "data"), ("1234567890", "data"), ("0213456789", "data")],
)
def test_a_shuffled_list_is_caught_explained_and_mended(
    listing: str, word: str, teacher: StoredNet, some_digits: Labelled, tmp_path: Path
) -> None:
    classes = digits().classes
    wrong = relisted(teacher, listing)
    found = check_teacher(wrong, *some_digits, classes)
    moved = sum(one != other for one, other in zip(listing, "0123456789", strict=True))
    assert found.accuracy <= 1 - 0.9 * moved / 10 and found.restored is not None and found.restored > 0.95
    assert (found.verdict, found.word, found.order) == ("order", word, tuple("0123456789"))
    assert f"--teacher-classes {word}" in found.message and f"{moved - 3} more" in found.message or moved <= 3
    mended = with_classes(wrong, classes, found.option)
    again = check_teacher(mended, *some_digits, classes)
    assert again.verdict == "sound" and again.accuracy == hits(teacher.module, *some_digits)[0]
    found.write_order(tmp_path / "order.txt")
    assert with_classes(wrong, classes, str(tmp_path / "order.txt")).classes.keys == mended.classes.keys


def test_an_order_without_a_rule_is_listed(teacher: StoredNet, some_digits: Labelled) -> None:
    """The net's own outputs are shuffled while it lists the data's order."""
    classes, order = digits().classes, "5093718246"
    shuffled = replace(teacher.narrowed(order), classes=classes)
    found = check_teacher(shuffled, *some_digits, classes)
    assert (found.verdict, found.word, found.order) == ("order", None, tuple(order))
    assert found.message.endswith("--teacher-classes 5,0,9,3,7,1,8,2,4,6")
    assert (
        check_teacher(with_classes(shuffled, classes, found.option), *some_digits, classes).verdict == "sound"
    )


class Marked(nn.Module):
    """A net that reads an image's class off its first pixel, and errs on the share of images that a draw gives it."""

    def __init__(self, outputs: int, keys: list[int], error: float = 0.0) -> None:
        super().__init__()
        self.outputs, self.error = outputs, error
        self.register_buffer("keys", torch.tensor(keys))

    def forward(self, images: Tensor) -> Tensor:
        values = (images[:, :, 0, 0] * 255).round().long()
        guesses: Any = self.keys[values[:, 0]]
        wrong = values[:, 1] < 256 * self.error
        guesses = torch.where(wrong, values[:, 2] % self.outputs, guesses)
        return functional.one_hot(guesses, self.outputs).float()


def marked_images(classes: int, each: int) -> Labelled:
    labels = torch.arange(classes).repeat_interleave(each)
    images = torch.randint(256, (len(labels), 3, 2, 2), generator=generator("marks")).to(torch.uint8)
    images[:, 0, 0, 0] = labels.to(torch.uint8)
    return images, labels


def numbered(count: int) -> Classes:
    return Classes(tuple(map(str, range(count))), tuple(f"c{place:03d}" for place in range(count)))


CAUSES: dict[str, Callable[[list[int]], list[int]]] = {
    "sorted": lambda places: sorted(places, key=str),
    "reversed": lambda places: places[::-1],
    "plus-one": lambda places: [places[-1], *places[:-1]],
    "minus-one": lambda places: [*places[1:], places[0]],
}


@pytest.mark.parametrize("error", [0.0, 0.5])
@pytest.mark.parametrize("count", [12, 100])
@pytest.mark.parametrize("cause", CAUSES)
def test_known_causes_are_named(cause: str, count: int, error: float) -> None:
    """Output j of the net means class order[j], as where folders were listed in that order when it was trained."""
    order = CAUSES[cause](list(range(count)))
    net = Marked(count, [order.index(label) for label in range(count)], error)
    found = check_teacher(net, *marked_images(count, 30), numbered(count))
    assert (found.verdict, found.word) == ("order", cause)
    assert found.order == tuple(map(str, order))
    assert found.message.endswith(f"--teacher-classes {cause}")


@pytest.mark.parametrize("outputs", [10, 13])
def test_two_classes_exchanged_are_caught_though_accuracy_is_high(outputs: int) -> None:
    swapped = [0, 1, 7, 3, 4, 5, 6, 2, 8, 9]
    classes = numbered(10)
    found = check_teacher(Marked(outputs, swapped, 0.2), *marked_images(10, 40), classes)
    assert found.accuracy > 0.6 and (found.verdict, found.word) == ("order", None)
    order = tuple(str(swapped.index(output)) for output in range(10))
    assert found.order is not None and found.order[:10] == order and len(found.order) == outputs


def test_two_classes_that_a_teacher_confuses_are_no_order() -> None:
    """Of classes 2 and 3 it takes most for each other, as a weak teacher does with cats and dogs."""
    images, labels = marked_images(10, 40)
    keys = [0, 1, 3, 2, 4, 5, 6, 7, 8, 9]
    right = generator("right")
    kept = torch.rand(len(labels), generator=right) < 0.4
    images[:, 0, 0, 0] = torch.where(kept & ((labels == 2) | (labels == 3)), 5 - labels, labels).to(
        torch.uint8
    )
    found = check_teacher(Marked(10, keys), images, labels, numbered(10))
    assert found.verdict == "sound" and found.order is None


def test_teachers_that_know_nothing_are_poor_and_not_reordered(some_digits: Labelled) -> None:
    constant = Marked(10, [3] * 10)
    for net in (
        constant,
        Marked(10, list(range(10)), 1.0),
        build(Net(width=8), 10, 32, generator("untrained")).eval(),
    ):
        found = check_teacher(net, *some_digits, digits().classes)
        assert (found.verdict, found.order) == ("poor", None), found
        assert "no order of its classes mends it" in found.message and "chance is 10.0 %" in found.message


def test_a_teacher_of_other_keys_is_matched_by_name_or_says_how(
    teacher: StoredNet, some_digits: Labelled
) -> None:
    classes = digits().classes
    by_name = replace(teacher, classes=Classes(classes.names[::-1], classes.names[::-1]))
    found = check_teacher(by_name, *some_digits, classes)
    assert (found.verdict, found.word) == ("order", "data")
    strange = relisted(teacher, "abcdefghij")
    found = check_teacher(strange, *some_digits, classes)
    assert (found.accuracy, found.verdict, found.word) == (0.0, "order", "data")
    assert "0 is output 0, listed as a" in found.message
    assert with_classes(strange, classes, "data").classes.keys == classes.keys
    named = replace(teacher, classes=Classes(classes.names, classes.names))
    assert with_classes(named, classes).classes.keys == classes.keys
    assert check_teacher(named, *some_digits, classes).verdict == "sound"


def test_a_teacher_of_more_classes_is_asked_about_some(teacher: StoredNet) -> None:
    real = digits().select(["7", "1", "4"])
    rows = torch.cat([real.test.of_class(label)[:20] for label in range(3)])
    asked = real.test.pixels(rows, 32), real.test.labels[rows]
    assert check_teacher(teacher, *asked, real.classes).verdict == "sound"
    shifted = relisted(teacher, "9012345678")
    found = check_teacher(shifted, *asked, real.classes)
    assert (found.verdict, found.word) == ("order", "sorted")
    assert (
        check_teacher(with_classes(shifted, real.classes, "sorted"), *asked, real.classes).verdict == "sound"
    )


def test_near_chance_against_scipys_binomial() -> None:
    for right, n, outputs in (
        (1, 10, 10),
        (5, 10, 10),
        (3, 10, 10),
        (11, 100, 10),
        (60, 100, 2),
        (95, 100, 2),
    ):
        chance = 1 / outputs
        p = stats.binomtest(right, n, chance, alternative="greater").pvalue
        useless = right / n < min(2 * chance, chance + 0.1 * (1 - chance))
        assert near_chance(right, n, outputs) == (useless or p > 1e-3)
    assert near_chance(0, 10, 10) and not near_chance(95, 100, 2) and near_chance(3, 1000, 1000)
    assert not near_chance(10, 1000, 1000)


def test_wrong_input(teacher: StoredNet, some_digits: Labelled) -> None:
    classes = digits().classes
    with pytest.raises(PotstillError, match="name them with --test"):
        check_teacher(teacher, some_digits[0][:0], some_digits[1][:0], classes)
    with pytest.raises(PotstillError, match="3 outputs and the data 10 classes"):
        check_teacher(teacher.narrowed("012").module, *some_digits, classes)
    with pytest.raises(PotstillError, match="imagenet has 1000 classes and the teacher 10 outputs"):
        with_classes(teacher, classes, "imagenet")
    with pytest.raises(PotstillError, match="no order of classes"):
        check_teacher(teacher, *some_digits, classes).write_order(Path("never"))


def test_a_cifar_folder_whose_class_order_was_shuffled_against_the_teacher(
    shared_data: Path, tmp_path: Path
) -> None:
    """The net is trained on CIFAR-10 as it is; its config lists the classes as a shuffled folder had them."""
    if not (shared_data / "cifar10").is_dir():
        pytest.skip(f"needs {shared_data / 'cifar10'}")
    real = load(str(shared_data / "cifar10"))
    keys = real.classes.keys
    module = build(Net(width=16), 10, 32, generator("cifar", "start"))
    rows = torch.cat([real.train.of_class(label)[:100] for label in range(10)])
    fit(
        module,
        real.train.pixels(rows, 32),
        real.train.labels[rows],
        classes=10,
        training=Training(epochs=5, batch=25, rate=5e-3),
        generator=generator("cifar", "fit"),
    )
    shuffled = tuple(keys[place] for place in torch.randperm(10, generator=generator("cifar", "order")))
    save_net(tmp_path / "teacher", module, Net(width=16), Classes(shuffled, shuffled), 32, {})
    for key, label in zip(keys, range(10), strict=True):
        (tmp_path / "folder" / key).mkdir(parents=True)
        for row in real.test.of_class(label)[:30].tolist():
            pixels = real.test.pixels([row], 32)[0].permute(1, 2, 0).contiguous()
            Image.fromarray(pixels.numpy()).save(tmp_path / "folder" / key / f"{row}.png")
    theirs = foreign(str(tmp_path / "folder"), real, tmp_path)
    asked = theirs.images(), theirs.labels(keys)
    teacher = with_classes(load_net(tmp_path / "teacher"), real.classes)
    found = check_teacher(teacher, *asked, real.classes)
    assert found.verdict == "order" and found.accuracy < 0.25 and found.restored is not None
    assert found.restored > 0.35 and found.message.endswith("--teacher-classes data")
    mended = check_teacher(with_classes(teacher, real.classes, "data"), *asked, real.classes)
    assert mended.verdict == "sound" and mended.accuracy > found.accuracy + 0.2

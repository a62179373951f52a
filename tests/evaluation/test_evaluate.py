"""Real digits through real students: learning, repeating, resuming, and RDED's own loop as a slow twin."""

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from potstill.core.errors import PotstillError
from potstill.core.progress import Step
from potstill.core.seeds import generator
from potstill.data.digits import digit_arrays, digit_split
from potstill.data.real import Classes
from potstill.evaluation import PROTOCOLS
from potstill.evaluation.evaluate import Finished, Subject, centre, evaluate
from potstill.evaluation.protocol import Setting
from potstill.evaluation.record import Evaluation
from potstill.evaluation.student import Labelled, hits, train_student, with_momentum
from potstill.labels import LABELLERS
from potstill.nets.augment import in_turn
from potstill.nets.fit import Training, fit
from potstill.nets.spec import Net, build
from potstill.nets.store import StoredNet, frozen

DIGITS = Classes(
    tuple("0123456789"), ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
)
SUBJECT = Subject(name="digits_random", method="random", data="digits", set_seed=0)
SMALL = Net(width=8)
HARD, RDED = PROTOCOLS["hard@1"], PROTOCOLS["rded@1"]


def planned(protocol: Any, **changes: Any) -> Any:
    setting = Setting(student=SMALL, images=200, classes=10, size=16, mirror=True)
    return protocol.scaled(changes).plan(setting)


def digits(rows: Tensor) -> Labelled:
    images, labels = digit_arrays()
    return functional.avg_pool2d(images[rows].float(), 2).round().to(torch.uint8), labels[rows]


@pytest.fixture(scope="module")
def train() -> Labelled:
    """200 real digits at 16 px, 20 a class."""
    rows = torch.from_numpy(digit_split()[0])
    labels = digit_arrays()[1][rows]
    return digits(torch.cat([rows[labels == digit][:20] for digit in range(10)]))


@pytest.fixture(scope="module")
def test() -> Labelled:
    return digits(torch.from_numpy(digit_split()[1]))


@pytest.fixture(scope="module")
def teacher(train: Labelled) -> StoredNet:
    """Trained on the same digits, by the loop that students use."""
    module = build(Net(width=16), 10, 16, generator("teacher"))
    training = Training(epochs=20, batch=50, rate=5e-3)
    fit(module, *train, classes=10, training=training, generator=generator("teacher", "fit"))
    return StoredNet(module=frozen(module), spec=Net(width=16), classes=DIGITS, size=16)


def judge(train: Labelled, test: Labelled, **changes: Any) -> Evaluation:
    settings: dict[str, Any] = {
        "subject": SUBJECT,
        "protocol": HARD.scaled({"training.epochs": 2}),
        "student": SMALL,
        "classes": DIGITS,
        "seeds": [0],
        "mirror": False,
    }
    return evaluate(train, test, **(settings | changes))


def numbers(evaluation: Evaluation) -> list[tuple[int, float, float, float]]:
    return [(run.seed, run.accuracy, run.top5, run.train_loss) for run in evaluation.runs]


@pytest.mark.parametrize("protocol", [HARD, RDED], ids=lambda protocol: protocol.label)
def test_students_learn_digits(protocol: Any, train: Labelled, test: Labelled, teacher: StoredNet) -> None:
    short = protocol.scaled({"training.epochs": 30, "training.rate": 5e-3})
    result = judge(train, test, protocol=short, student=Net(width=16), teacher=teacher, seeds=[0, 1])
    assert result.mean > 0.75
    assert all(run.top5 > run.accuracy and run.top5 > 0.95 for run in result.runs)
    assert (result.protocol, result.ipc, result.data) == (f"{protocol.label}*", 20, "digits")
    assert result.settings == {"training.epochs": 30, "training.rate": 5e-3}
    assert result.student == "ConvNet-3, width 16"
    assert result.teacher == ("ConvNet-3, width 16" if protocol is RDED else None)
    assert result.versions["torch"] == torch.__version__


def test_same_seed_same_bits_and_seeds_are_independent(
    train: Labelled, test: Labelled, teacher: StoredNet
) -> None:
    before = torch.random.get_rng_state()
    settings: dict[str, Any] = {"protocol": RDED.scaled({"training.epochs": 2}), "teacher": teacher}
    both = numbers(judge(train, test, seeds=[5, 6], **settings))
    assert numbers(judge(train, test, seeds=[6, 5], **settings)) == both[::-1]
    assert both[0][1:] != both[1][1:]
    assert torch.equal(before, torch.random.get_rng_state())


def test_one_student_twice_is_bitwise_the_same(train: Labelled) -> None:
    states = [train_once(train).state_dict() for _ in range(2)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def train_once(train: Labelled) -> nn.Module:
    module, _ = train_student(
        train,
        plan=planned(HARD, **{"training.epochs": 2}),
        student=SMALL,
        classes=10,
        labeller=LABELLERS["hard"](),
        seed=3,
    )
    return module


@pytest.mark.parametrize("seed", [0, 3])
def test_a_student_starts_from_the_values_of_its_seed(train: Labelled, seed: int) -> None:
    """A rate of next to nothing leaves them where they were."""
    module, _ = train_student(
        train,
        plan=planned(HARD, **{"training.epochs": 1, "training.rate": 1e-9}),
        student=SMALL,
        classes=10,
        labeller=LABELLERS["hard"](),
        seed=seed,
    )
    start = build(SMALL, 10, 16, generator(seed, "student", "start"))
    for value, wanted in zip(module.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(value, wanted, rtol=0, atol=1e-6)


@pytest.fixture
def one_at_a_time() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Interrupted(Exception):
    pass


@pytest.mark.usefixtures("one_at_a_time")
def test_a_killed_evaluation_goes_on_to_the_same_numbers(
    train: Labelled, test: Labelled, tmp_path: Path
) -> None:
    straight = numbers(judge(train, test, seeds=[0, 1, 2]))
    partial, seen = tmp_path / "partial.json", []

    def stop(step: Step) -> None:
        seen.append(step.index)
        if step.index == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        judge(train, test, seeds=[0, 1, 2], partial=partial, on_step=stop)
    resumed = judge(
        train, test, seeds=[0, 1, 2], partial=partial, on_step=lambda step: seen.append(step.index)
    )
    assert numbers(resumed) == straight
    assert seen == [1, 2, 3, 3, 4, 5, 6]
    fewer = judge(
        train, test, seeds=[2, 0], partial=partial, on_step=lambda step: pytest.fail("trained again")
    )
    assert numbers(fewer) == [straight[2], straight[0]]


@pytest.mark.usefixtures("one_at_a_time")
def test_two_evaluations_of_one_set_keep_each_others_students(
    train: Labelled, test: Labelled, tmp_path: Path
) -> None:
    partial, seen = tmp_path / "partial.json", []

    def beside(step: Step) -> None:
        if not seen:
            seen.append(judge(train, test, seeds=[1, 2], partial=partial))

    judge(train, test, seeds=[0], partial=partial, on_step=beside)
    assert [one.seed for one in Finished.load(partial).in_order] == [0, 1, 2]


@pytest.mark.usefixtures("one_at_a_time")
def test_progress_counts_epochs_over_all_students(train: Labelled, test: Labelled) -> None:
    steps: list[Step] = []
    judge(train, test, seeds=[7, 8], on_step=steps.append)
    assert [(step.stage, step.index, step.total) for step in steps] == [
        ("evaluate", n, 4) for n in (1, 2, 3, 4)
    ]
    assert [step.scalars["student"] for step in steps] == [1, 1, 2, 2]
    assert all(step.scalars["loss"] > 0 for step in steps)


@pytest.mark.parametrize(
    "change",
    [
        lambda train: {"protocol": HARD.scaled({"training.epochs": 3})},
        lambda train: {"student": Net(width=4)},
        lambda train: {"train": (train[0] ^ 1, train[1])},
        lambda train: {"mirror": True},
    ],
)
def test_a_partial_file_of_another_evaluation_is_refused(
    change: Callable[[Labelled], dict[str, Any]], train: Labelled, test: Labelled, tmp_path: Path
) -> None:
    partial = tmp_path / "partial.json"
    judge(train, test, partial=partial)
    changes = change(train)
    with pytest.raises(PotstillError, match="partial.json holds students of another evaluation"):
        judge(changes.pop("train", train), test, partial=partial, **changes)


def test_a_place_that_cannot_be_written_is_found_out_before_training(
    train: Labelled, test: Labelled, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PotstillError, match="cannot write .*partial.json"):
        judge(
            train,
            test,
            partial=tmp_path / "file" / "partial.json",
            on_step=lambda step: pytest.fail("trained"),
        )


def test_a_teacher_of_more_classes_in_another_order_is_narrowed(
    train: Labelled, test: Labelled, teacher: StoredNet
) -> None:
    kept = (7, 1, 4)
    three = Classes(tuple(DIGITS.keys[c] for c in kept), tuple(DIGITS.names[c] for c in kept))
    rows = torch.cat([(train[1] == c).nonzero().flatten() for c in kept])
    some = train[0][rows], torch.arange(3).repeat_interleave(20)
    protocol = RDED.scaled({"training.epochs": 20, "training.rate": 5e-3})
    result = judge(some, some, classes=three, teacher=teacher, protocol=protocol)
    assert result.runs[0].accuracy > 0.8


def test_larger_test_images_are_cropped_to_their_centre(train: Labelled, test: Labelled) -> None:
    framed = functional.pad(test[0], (2, 2, 2, 2), value=255)
    assert torch.equal(centre(framed, 16), test[0])
    assert numbers(judge(train, (framed, test[1]))) == numbers(judge(train, test))
    assert centre(torch.zeros(1, 3, 256, 256), 224).shape == (1, 3, 224, 224)


def rded_by_hand(student: nn.Module, teacher: nn.Module, train: Labelled, draw: torch.Generator) -> nn.Module:
    """Three epochs of RDED's step as in its code: mixed in place, shown to the student twice."""
    images, labels = train
    size, count = 16, len(images)
    decayed = [p for n, p in student.named_parameters() if "weight" in n and p.ndim > 1]
    others = [p for n, p in student.named_parameters() if not ("weight" in n and p.ndim > 1)]
    optimiser = torch.optim.AdamW([{"params": decayed}, {"params": others, "weight_decay": 0}], lr=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda e: 0.5 * (1 + math.cos(math.pi * e / 6)))
    student.train()
    for _ in range(3):
        for rows in torch.randperm(count, generator=draw).split(50):
            x = images[rows].double() / 255
            flipped = torch.rand(len(rows), generator=draw) < 0.5
            x[flipped] = x[flipped].flip(3)
            partner = torch.randperm(len(rows), generator=draw)
            share = torch.rand((), generator=draw, dtype=torch.float64).item()
            side = int(size * math.sqrt(1 - share))
            y, z = torch.randint(size, (2,), generator=draw).tolist()
            top, bottom, left, right = (
                min(max(edge, 0), size)
                for edge in (y - side // 2, y + side // 2, z - side // 2, z + side // 2)
            )
            x[:, :, top:bottom, left:right] = x[partner, :, top:bottom, left:right]
            with torch.no_grad():
                student(x)
                p = (teacher(x) / 20).softmax(1)
            loss = functional.kl_div((student(x) / 20).log_softmax(1), p, reduction="batchmean")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
    return student.eval()


def test_equals_rdeds_loop(train: Labelled, teacher: StoredNet) -> None:
    """In float64, for Adam blows up the rounding of gradients that are zero."""
    plan = planned(RDED, **{"training.epochs": 3})
    wise = deepcopy(teacher.module).double()
    ours, by_hand = (build(SMALL, 10, 16, generator("start")).double() for _ in range(2))
    with_momentum(ours, plan.norm_momentum)
    fit(
        ours,
        *train,
        classes=10,
        training=plan.training,
        generator=generator("fit"),
        loss=LABELLERS["teacher"](wise, plan.temperature).loss,
        augment=in_turn(plan.changes),
    )
    expected = rded_by_hand(by_hand, wise, train, generator("fit")).state_dict()
    for name, value in ours.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-9)


def test_a_momentum_of_0_19_is_two_updates_at_0_1() -> None:
    once, twice = nn.BatchNorm2d(3, momentum=planned(RDED).norm_momentum), nn.BatchNorm2d(3, momentum=0.1)
    for seed in range(5):
        batch = 2 + 3 * torch.randn(8, 3, 4, 4, generator=generator(seed))
        once(batch)
        twice(batch)
        twice(batch)
    assert once.running_mean is not None and once.running_var is not None
    torch.testing.assert_close(once.running_mean, twice.running_mean)
    torch.testing.assert_close(once.running_var, twice.running_var)


def test_the_student_gets_the_momentum(train: Labelled) -> None:
    module = train_once(train)
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert [layer.momentum for layer in norms] == [0.19] * 3


def test_hits_by_hand() -> None:
    """Logits are the mean colour of parts of the image, so that guesses are known."""

    class Columns(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, images: Tensor) -> Tensor:
            return images.mean((1, 2)) * self.scale

    images = torch.zeros(600, 3, 6, 6, dtype=torch.uint8)
    images[:] = torch.tensor([60, 50, 40, 30, 20, 10], dtype=torch.uint8)
    labels = torch.arange(6).repeat(100)
    assert hits(Columns(), images, labels) == (pytest.approx(1 / 6), pytest.approx(5 / 6))
    assert hits(Columns(), images, labels, among=9)[1] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": RDED}, "protocol rded@1 needs a teacher"),
        ({"seeds": []}, "needs student seeds, each once, not \\[\\]"),
        ({"seeds": [1, 1]}, "each once, not \\[1, 1\\]"),
        ({"classes": Classes(("a", "b"), ("a", "b"))}, "train labels must be in 0..1, found 0..9"),
    ],
)
def test_what_does_not_fit(changes: dict[str, Any], message: str, train: Labelled, test: Labelled) -> None:
    with pytest.raises(PotstillError, match=message):
        judge(train, test, **changes)


def test_float_images_are_trained_on_as_they_are(train: Labelled, test: Labelled) -> None:
    """The same numbers as floats give the same students."""
    floats = train[0].float() / 255
    assert judge((floats, train[1]), test).accuracies == judge(train, test).accuracies


def test_images_that_do_not_fit(train: Labelled, test: Labelled, teacher: StoredNet) -> None:
    with pytest.raises(
        PotstillError, match="test images of 12 px are smaller than the training images of 16 px"
    ):
        judge(train, (test[0][:, :, :12, :12], test[1]))
    with pytest.raises(PotstillError, match="train images must be torch.uint8 or torch.float32"):
        judge((train[0].double(), train[1]), test)
    with pytest.raises(PotstillError, match="test images must be torch.uint8 "):
        judge(train, (test[0].float(), test[1]))
    with pytest.raises(PotstillError, match="as many labels as images"):
        judge((train[0], train[1][:5]), test)
    with pytest.raises(PotstillError, match="trained at 32 px, the images to label have 16 px"):
        judge(train, test, protocol=RDED, teacher=replace(teacher, size=32))
    with pytest.raises(PotstillError, match="unknown class 'ten'"):
        others = Classes((*DIGITS.keys[:9], "ten"), (*DIGITS.names[:9], "ten"))
        judge(train, test, protocol=RDED, teacher=teacher, classes=others)

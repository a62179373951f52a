"""Whether a teacher means by its outputs what the data mean by their classes, found out before anything is trained.

Most numbers of distilled sets that nobody could repeat come from a teacher, folders and labels that each count the
classes in another order. Real images tell: a sound teacher names them right; one whose classes are in another order
does so after a permutation of its outputs; one that knows other classes, or nothing, after none.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from potstill.core.errors import PotstillError
from potstill.core.files import write_text
from potstill.data.matching import ORDERS, class_order, matched
from potstill.data.real import Classes
from potstill.nets.predict import predict
from potstill.nets.store import StoredNet

ROWS = 256

RARE = 1e-3
"""Up to this p-value of a binomial test an accuracy is told from chance."""

SKILL = 0.1
"""The share of the way from chance to 1 below which, with few classes, a teacher is as good as none."""

RESTORED = 0.25
"""The share of that way from which a permutation is taken to restore a teacher: features of an untrained net that
happen to fit classes get a tenth of it with ten classes."""

MENDED = 4
"""By which factor a permutation must better the classes that it moves: a teacher that often confuses two classes
gains less from taking one for the other."""

LEAST = 10
"""Right guesses that a permutation must get on the classes that it moves: of fewer, luck is not ruled out."""

_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherCheck:
    """What real images say of a teacher.

    `accuracy` is its share of right first guesses among `n` images, by the classes that it lists. Where another
    order of its outputs explains them, `verdict` is "order", `restored` the accuracy in that order (on images that it
    was not found on), `order` the class keys in that order, and `word` its name among `ORDERS`, if it has one.
    """

    accuracy: float
    n: int
    chance: float
    verdict: Literal["sound", "order", "poor"]
    classes: tuple[str, ...]
    listed: tuple[str, ...]
    restored: float | None = None
    order: tuple[str, ...] | None = None
    word: str | None = None

    @property
    def message(self) -> str:
        """What was found, and which option mends it."""
        told = f"the teacher names {_percent(self.accuracy)} of {self.n} real images right"
        if self.verdict == "sound":
            return told
        if self.order is None or self.restored is None:
            return (
                f"{told}, where chance is {_percent(self.chance)}, and no order of its classes mends it: it was "
                "trained on other classes, on images of another size or range, or not at all"
            )
        why = ORDERS[self.word][0] if self.word else "an order with no simple rule"
        return (
            f"{told} by the classes that it lists ({_list(self.listed)}), and {_percent(self.restored)} where its "
            f"outputs are taken in another order: {why} ({self.moves}). Its class order is wrong; "
            f"mend it with --teacher-classes {self.option}"
        )

    @property
    def option(self) -> str:
        """What to give to --teacher-classes: a word, the keys with commas, or for many classes a file to be written."""
        if self.word is not None:
            return self.word
        if self.order is None or len(self.order) > _SHOWN or any("," in key for key in self.order):
            return "FILE, a file with the key of each output a line (`TeacherCheck.write_order` writes it)"
        listed = ",".join(self.order)
        return f"'{listed}'" if " " in listed else listed

    @property
    def moves(self) -> str:
        """The first classes that another output stands for, as "cat is output 5, listed as dog"."""
        places = {key: output for output, key in enumerate(self.order or ())}
        moved = [key for key in self.classes if self.listed[places[key]] != key]
        told = [f"{key} is output {places[key]}, listed as {self.listed[places[key]]}" for key in moved[:3]]
        return "; ".join(told) + (f"; and {len(moved) - 3} more" if len(moved) > 3 else "")

    def write_order(self, file: Path) -> None:
        """Writes the order that was found for --teacher-classes; raises PotstillError where there is none."""
        if self.order is None:
            raise PotstillError("no order of classes was found that mends the teacher")
        write_text(file, "\n".join(self.order) + "\n")


def check_teacher(
    teacher: StoredNet | Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    classes: Classes,
    *,
    device: torch.device | str = "cpu",
) -> TeacherCheck:
    """Asks a teacher about real images, uint8 [n, 3, s, s], of classes `labels`, int64 [n].

    A stored net is taken by the classes that it lists, which are matched by key or name; any other function from
    images in [0, 1] to logits by the order of `classes`. The permutation that explains the teacher best is found on
    every second image of each class (Hungarian method on the confusion matrix) and judged on the others, so that
    chance gains nothing by it. The order listed is found wrong where, on the classes that the permutation moves, it
    gets at least `LEAST` images right, `MENDED` times what the listed order gets, and `RESTORED` of the way from
    chance to 1 of the images that are of these classes or taken for them. This also catches two classes of a hundred
    exchanged. Raises PotstillError without images and for fewer outputs than classes.
    """
    if not len(images):
        raise PotstillError("a teacher is checked on real images, and there are none: name them with --test")
    listed = teacher.classes if isinstance(teacher, StoredNet) else classes
    guesses, outputs = _guesses(teacher, images, device)
    if outputs < len(classes):
        raise PotstillError(f"the teacher has {outputs} outputs and the data {len(classes)} classes")
    expected = torch.tensor([-1 if place is None else place for place in matched(classes, listed)])
    right = guesses == expected[labels]
    accuracy, chance = int(right.sum()) / len(labels), 1 / outputs
    found = TeacherCheck(
        accuracy=accuracy,
        n=len(labels),
        chance=chance,
        verdict="poor" if near_chance(int(right.sum()), len(labels), outputs) else "sound",
        classes=classes.keys,
        listed=_padded(listed.keys, outputs),
    )
    found_on, judged_on = _halves(labels)
    meant = _assignment(labels[found_on], guesses[found_on], len(classes), outputs, expected)
    before, after, concerned = _on_moved(guesses[judged_on], labels[judged_on], expected, meant)
    if after < max(LEAST, MENDED * before, concerned * (chance + RESTORED * (1 - chance))):
        return found
    restored = int((guesses == meant[labels])[judged_on].sum()) / len(judged_on)
    explained = _explained(guesses, labels, classes, listed, outputs, restored, len(judged_on))
    order = explained[1] if explained else _order(meant, classes, found.listed)
    word = explained[0] if explained else None
    return replace(found, verdict="order", restored=restored, order=order, word=word)


def near_chance(right: int, n: int, outputs: int) -> bool:
    """Whether so many right guesses of n are no better than chance, or not enough better to be of use.

    That is below twice chance, or below `SKILL` of the way from chance to 1 where this is less (few classes), or what
    a binomial test at `RARE` does not tell from chance (few images).
    """
    from scipy.special import bdtrc

    chance = 1 / outputs
    useful = min(2 * chance, chance + SKILL * (1 - chance))
    unlikely = float(bdtrc(right - 1, n, chance)) if right else 1.0
    return right / n < useful or unlikely > RARE


def with_classes(teacher: StoredNet, classes: Classes, order: str | None = None) -> StoredNet:
    """The teacher whose outputs are called by the keys of `classes`, the data's, wherever they mean these.

    Without `order` what it lists is matched by key or name; `order` (see `class_order`, which takes the data's
    classes, or the teacher's where it has more) says what each output means instead. Raises PotstillError where the
    order has not one class for each output.
    """
    listed = teacher.classes
    if order is None:
        keys = list(listed.keys)
        for key, place in zip(classes.keys, matched(classes, listed), strict=True):
            if place is not None:
                keys[place] = key
    else:
        keys = class_order(order, _ordered(classes, listed, len(listed)))
        if len(keys) != len(listed):
            raise PotstillError(
                f"--teacher-classes {order} has {len(keys)} classes and the teacher {len(listed)} outputs"
            )
    names = dict(zip((*listed.keys, *classes.keys), (*listed.names, *classes.names), strict=True))
    return replace(teacher, classes=Classes(tuple(keys), tuple(names.get(key, key) for key in keys)))


def _guesses(
    teacher: StoredNet | Callable[[Tensor], Tensor], images: Tensor, device: torch.device | str
) -> tuple[Tensor, int]:
    """The first guess for each image, and the number of outputs."""
    module: Any = teacher.to(device).module if isinstance(teacher, StoredNet) else teacher
    found, outputs = [], 0
    for rows in images.split(ROWS):
        logits = predict(module, rows.to(device).float().div_(255))
        outputs = logits.shape[1]
        found.append(logits.argmax(1).cpu())
    return torch.cat(found), outputs


def _halves(labels: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of every second image of each class, and the others."""
    by_class = labels.argsort(stable=True)
    return by_class[0::2], by_class[1::2]


def _assignment(labels: Tensor, guesses: Tensor, classes: int, outputs: int, expected: Tensor) -> Tensor:
    """For each class the output that means it, no output twice; among equals the one expected."""
    from scipy.optimize import linear_sum_assignment

    counts = torch.zeros(classes, outputs, dtype=torch.float64)
    counts.index_put_((labels, guesses), torch.ones(len(labels), dtype=torch.float64), accumulate=True)
    known = torch.nonzero(expected >= 0).flatten()
    counts[known, expected[known]] += 1 / (2 * outputs)
    return torch.from_numpy(linear_sum_assignment(counts.numpy(), maximize=True)[1])


def _on_moved(guesses: Tensor, labels: Tensor, expected: Tensor, meant: Tensor) -> tuple[int, int, int]:
    """Right guesses on the classes that the permutation moves, before and after it, and how many images concern them.

    An image concerns them by its class or by its guess, so that a net which guesses the same of everything has
    nothing to gain.
    """
    moved = meant != expected
    own = moved[labels]
    concerned = own | torch.isin(guesses, meant[moved])
    before, after = (int((guesses == one[labels])[own].sum()) for one in (expected, meant))
    return before, after, int(concerned.sum())


def _explained(
    guesses: Tensor,
    labels: Tensor,
    classes: Classes,
    listed: Classes,
    outputs: int,
    restored: float,
    n: int,
) -> tuple[str, tuple[str, ...]] | None:
    """The named order that does as well as the permutation found, to two standard errors; the best where several do."""
    needed = restored - 2 * (restored * (1 - restored) / n) ** 0.5
    scored: list[tuple[float, str, tuple[str, ...]]] = []
    for word, keys in _orders(_ordered(classes, listed, outputs)).items():
        place = {key: output for output, key in enumerate(keys)}
        if len(keys) == outputs and all(key in place for key in classes.keys):
            meant = torch.tensor([place[key] for key in classes.keys])
            scored.append((int((guesses == meant[labels]).sum()) / len(labels), word, keys))
    best = max(scored, key=lambda one: one[0], default=None)
    return best[1:] if best and best[0] >= needed else None


def _orders(classes: Classes) -> Mapping[str, tuple[str, ...]]:
    return {word: keys(classes) for word, (_, keys) in ORDERS.items()}


def _ordered(classes: Classes, listed: Classes, outputs: int) -> Classes:
    """The classes that words of `ORDERS` put in order: the data's, or the teacher's where it has more."""
    return classes if outputs == len(classes) else listed


def _order(meant: Tensor, classes: Classes, listed: Sequence[str]) -> tuple[str, ...]:
    """A key for each output: the classes found, and at other outputs what is listed there or left over."""
    found = {int(output): key for key, output in zip(classes.keys, meant, strict=True)}
    others = [key for key in listed if key not in classes.keys]
    rest = iter(others)
    return tuple(found[output] if output in found else next(rest) for output in range(len(listed)))


def _padded(keys: Sequence[str], outputs: int) -> tuple[str, ...]:
    return (*keys, *(f"output {output}" for output in range(len(keys), outputs)))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _list(keys: Sequence[str]) -> str:
    return ", ".join(keys[:_SHOWN]) + (", ..." if len(keys) > _SHOWN else "")

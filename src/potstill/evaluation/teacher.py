"""A teacher before it teaches: called by the data's classes, and asked about test images."""

from pathlib import Path

from potstill.core.errors import PotstillError
from potstill.data.real import Classes
from potstill.evaluation.student import Labelled
from potstill.evaluation.teacher_check import check_teacher, with_classes
from potstill.nets.store import StoredNet, load_net


def ready_teacher(
    teacher: str, order: str | None, test: Labelled, classes: Classes, folder: Path, device: str
) -> tuple[StoredNet, float | None]:
    """A trained net as `with_classes` has it, and its accuracy on test images; None where these are not of its size.

    Raises PotstillError where it is not fit to teach. An order of classes that mends it is written into the folder, for
    it may be too long for a message.
    """
    named = with_classes(load_net(teacher), classes, order)
    if named.size != test[0].shape[-1]:
        return named, None
    found = check_teacher(named, *test, classes, device=device)
    if found.verdict == "order":
        file = folder / "teacher-classes.txt"
        found.write_order(file)
        raise PotstillError(f"{found.message} (the order is in {file})")
    if found.verdict == "poor":
        raise PotstillError(found.message)
    return named, found.accuracy

"""The hostile set, finished, with stored soft labels and an evaluation."""

import pytest
from exporting.keys import KEYS, SIZE, fill

from potstill.core.seeds import generator
from potstill.labels.header import Header
from potstill.labels.making import make
from potstill.labels.views import FORMAT, described, pixels_sha256
from potstill.nets.augment import Flip
from potstill.nets.spec import Net, build
from potstill.nets.store import frozen


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    """The set."""
    folder = tmp_path_factory.mktemp("sets") / "hostile"
    made = fill(folder).finish()
    images, labels = made.examples(KEYS)
    header = Header(
        format=FORMAT,
        images=pixels_sha256(images),
        count=len(images),
        classes=KEYS,
        teacher="ConvNet",
        teacher_sha256="",
        seed=3,
        epochs=2,
        batch=16,
        changes=described((Flip(),)),
    )
    teacher = frozen(build(Net(width=8), len(KEYS), SIZE, generator("teacher")))
    make(images, labels, teacher, header, (Flip(),), bits=64).save(folder)
    (folder / "evaluations").mkdir()
    (folder / "evaluations/one.json").write_text("{}")
    return folder

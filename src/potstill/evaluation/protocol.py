"""Named settings under which students are trained and tested, so that numbers can be compared."""

from dataclasses import dataclass
from typing import Any

from potstill.core.errors import unknown
from potstill.core.settings import from_plain, to_plain
from potstill.evaluation import PROTOCOLS
from potstill.nets.augment import Augmentation
from potstill.nets.fit import Training
from potstill.nets.spec import Net

RATES = {
    "convnet": 1e-3,
    "resnet": 1e-3,
    "efficientnet": 2e-3,
    "mobilenet": 2.5e-3,
    "vgg": 5e-4,
    "alexnet": 1e-4,
    "vit": 1e-4,
    "swin": 1e-4,
}
"""RDED's learning rate for each kind of student."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """All that decides how a student is trained on a set and tested; the defaults are RDED's.

    Source: RDED (arXiv:2312.03526) as coded at 3f6453d8: AdamW, whose rate falls to a half along a cosine, on
    the loss of `labels` at `temperature`, each batch changed by patch shuffle, crop, flip and CutMix.

    Departs:
    * The last epoch is reported; RDED reports the best of six looks at the test images.
    * RDED shows every batch to the student twice, which updates BatchNorm's running statistics twice with the
      same numbers. One update with a momentum of 1 - (1 - 0.1)^2 = 0.19 does the same for a fifth less work.
    * Everything random comes from the student's seed; RDED leaves the CutMix boxes unseeded.
    * A flip is used only on data whose classes survive one; RDED has no writing among its data.
    * The batch is defined for any number of images per class (`batch_for`).
    * RDED's own settings for CIFAR-100 with a ConvNet-3 (rate 2e-3, batch 25) must be asked for.
    * Test images are resized by the reader of the data, bicubic and not bilinear, to RDED's `test_side`.

    None for `rate`, `batch` or `shuffle` means RDED's rule (`rate_for`, `batch_for`, `shuffle_for`).
    """

    name: str
    version: int = 1
    labels: str = "teacher"
    temperature: float | None = 20.0
    epochs: int = 300
    rate: float | None = None
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    cosine: float = 0.5
    batch: int | None = None
    shuffle: int | None = None
    flip: float = 0.5
    cutmix: bool = True
    norm_momentum: float = 0.19

    @property
    def changes(self) -> dict[str, Any]:
        """The settings that differ from the protocol of this name and version, or all where there is none."""
        named = f"{self.name}@{self.version}"
        original = to_plain(PROTOCOLS[named]) if named in PROTOCOLS else {}
        return {field: value for field, value in to_plain(self).items() if value != original.get(field, ...)}

    @property
    def label(self) -> str:
        """Name and version, with a star where settings were changed: "rded@1", "rded@1*"."""
        return f"{self.name}@{self.version}" + ("*" if self.changes else "")

    def rate_for(self, student: Net) -> float:
        """The learning rate for a kind of student; raises PotstillError where RDED's table has none."""
        if self.rate is not None:
            return self.rate
        if student.kind not in RATES:
            raise unknown("student kind with a learning rate", student.kind, RATES, f"protocol {self.label}")
        return RATES[student.kind]

    def batch_for(self, images: int, classes: int) -> int:
        """The batch size for a set.

        RDED defines 10, 50 and 100 for 1, 10 and 50 images per class. Here 10 holds below 10 images per
        class, 50 below 50 and 100 from there on; twice that from 100 classes on, but 100 for exactly 200
        classes (Tiny ImageNet), as there; never more than there are images.
        """
        if self.batch is not None:
            return min(self.batch, images)
        per_class = images / classes
        base = 10 if per_class < 10 else 50 if per_class < 50 else 100
        wanted = 100 if classes == 200 else base * 2 if classes >= 100 else base
        return min(wanted, images)

    def shuffle_for(self, size: int) -> int:
        """Strips a side of the patch shuffle: 2 for images of 128 px and more, 1 (none) for smaller ones."""
        return self.shuffle if self.shuffle is not None else 2 if size >= 128 else 1

    def test_side(self, size: int) -> int:
        """The short side a test image is resized to before its centre crop of `size` px, for 224 px 256."""
        return max(size, size // 7 * 8)

    def augmentation(self, size: int, *, mirror: bool) -> Augmentation:
        """The augmentation of images of `size` px, whose classes survive a flip if `mirror`."""
        strips = self.shuffle_for(size)
        flip = self.flip if mirror else 0.0
        return Augmentation(shuffle=strips, least_area=1 / strips, flip=flip, cutmix=self.cutmix)

    def training(self, student: Net, images: int, classes: int) -> Training:
        """The optimiser's settings for a student on a set of so many images and classes."""
        return Training(
            epochs=self.epochs,
            batch=self.batch_for(images, classes),
            rate=self.rate_for(student),
            weight_decay=self.weight_decay,
            betas=self.betas,
            cosine=self.cosine,
        )


RDED = Protocol(name="rded")
"""Soft labels of a teacher for each batch, T = 20, 300 epochs."""

HARD = Protocol(name="hard", labels="hard", temperature=None)
"""The same student, schedule and augmentation without a teacher: cross-entropy, classes mixed as CutMix does.

Departs: RDED has no such mode; its boxes carry no label as its teacher sees them.
"""


def scaled(protocol: Protocol, **changes: Any) -> Protocol:
    """The protocol with other settings, whose results say so: `label` gets a star and `changes` lists them.

    Raises PotstillError for an unknown setting or a value of the wrong type, and for another name or version,
    which would hide the change.
    """
    plain = to_plain(protocol)
    for field in ("name", "version"):
        if field in changes:
            raise unknown("setting to change", field, list(plain)[2:], f"protocol {protocol.label}")
    return from_plain(Protocol, plain | to_plain(changes), f"protocol {protocol.label}")

"""RDED's evaluation, with its teacher and without."""

from dataclasses import replace

from potstill.core.errors import unknown
from potstill.evaluation.protocol import Plan, Protocol, Setting
from potstill.nets.augment import Augment, Crop, CutMix, Flip, PatchShuffle
from potstill.nets.fit import Training
from potstill.nets.optimiser import AdamW
from potstill.nets.schedule import Cosine
from potstill.nets.spec import Net

RATES = {
    "convnet": 1e-3,
    "resnet": 1e-3,
    "resnetap": 1e-3,
    "vgg": 5e-4,
    "alexnet": 1e-4,
    "vit": 1e-4,
}
"""RDED's learning rate for each kind of student; ResNetAP, which it has not, is given ResNet's."""

LOOKS = (250, 260, 270, 280, 290, 300)


def rded(setting: Setting) -> Plan:
    """Soft labels of a teacher on the very batch that the student sees, T = 20, 300 epochs.

    Source: RDED (arXiv:2312.03526) as coded at 3f6453d8: AdamW, whose rate falls to a half along a cosine, on the
    divergence from the teacher, each batch changed by patch shuffle, crop, flip and CutMix.

    Departs:
    * The last epoch is reported; RDED reports the best of six looks at the test images.
    * RDED shows every batch to the student twice, which updates BatchNorm's running statistics twice with the
      same numbers. One update with a momentum of 1 - (1 - 0.1)^2 = 0.19 does the same for a fifth less work.
    * Everything random comes from the student's seed; RDED leaves the CutMix boxes unseeded.
    * A flip is used only on data whose classes survive one; RDED has no writing among its data.
    * The batch is defined for any number of images per class (`batch`).
    * RDED's own settings for CIFAR-100 with a ConvNet-3 (rate 2e-3, batch 25) must be asked for.
    * Test images are resized by the reader of the data, bicubic and not bilinear, to RDED's side (`test_side`).
    """
    return Plan(
        training=Training(
            epochs=300,
            batch=batch(setting),
            rate=rate(setting.student),
            optimiser=AdamW(weight_decay=0.01, betas=(0.9, 0.999)),
            schedule=Cosine(share=0.5),
        ),
        changes=changes(setting),
        labels="teacher",
        temperature=20.0,
        norm_momentum=0.19,
        test_side=test_side(setting.size),
        looks=LOOKS,
    )


def hard(setting: Setting) -> Plan:
    """The same student, schedule and augmentation without a teacher: cross-entropy, classes mixed as CutMix does.

    Departs: RDED has no such mode; its boxes carry no label as its teacher sees them.
    """
    return replace(rded(setting), labels="hard", temperature=None)


def rate(student: Net) -> float:
    """The learning rate for a kind of student; raises PotstillError where there is none."""
    if student.kind not in RATES:
        raise unknown("student kind with a learning rate", student.kind, RATES, "protocol rded@1")
    return RATES[student.kind]


def batch(setting: Setting) -> int:
    """The batch size for a set.

    RDED defines 10, 50 and 100 for 1, 10 and 50 images per class. Here 10 holds below 10 images per class, 50
    below 50 and 100 from there on; twice that from 100 classes on, but 100 for exactly 200 classes (Tiny
    ImageNet), as there; never more than there are images.
    """
    base = 10 if setting.per_class < 10 else 50 if setting.per_class < 50 else 100
    wanted = 100 if setting.classes == 200 else base * 2 if setting.classes >= 100 else base
    return min(wanted, setting.images)


def changes(setting: Setting) -> tuple[Augment, ...]:
    """Two strips a side and crops of half the area from 128 px on, a flip where the classes allow it, CutMix."""
    large = (PatchShuffle(strips=2), Crop(least_area=0.5)) if setting.size >= 128 else ()
    mirrored = (Flip(probability=0.5),) if setting.mirror else ()
    return (*large, *mirrored, CutMix())


def test_side(size: int) -> int:
    """The short side a test image is resized to before its centre crop of `size` px, for 224 px 256."""
    return max(size, size // 7 * 8)


RDED = Protocol(name="rded", version=1, rule=rded, students=("convnet-3", "resnet-18-small"))
HARD = Protocol(name="hard", version=1, rule=hard, students=RDED.students)

"""The hard-label evaluation of Minimax diffusion."""

from potstill.evaluation.protocol import Plan, Protocol, Setting
from potstill.nets.augment import Augment, Crop, CutMix, Flip
from potstill.nets.colour import Jitter, Lighting
from potstill.nets.fit import Training
from potstill.nets.optimiser import Sgd
from potstill.nets.schedule import Drops
from potstill.nets.siamese import Siamese, surviving

EPOCHS = ((1, 3000), (10, 2000), (50, 1500), (200, 1000), (500, 500))
"""Epochs up to so many images per class; above the last, 300."""

SMALL = 64
"""Images up to this side get the augmentation of the source's small data sets."""


def minimax(setting: Setting) -> Plan:
    """Hard labels with CutMix, SGD with two drops of the rate, epochs by images per class.

    Source: Minimax diffusion (Gu et al. 2024, arXiv:2311.15529), validation code: rate 0.01, momentum 0.9, weight
    decay 5e-4, batch 64, a fifth of the rate after 2/3 and again after 5/6 of the epochs; above 100 classes rate
    0.1, decay 1e-4 and batch 128; with 100 classes two thirds of the epochs, down to a hundred. Photos: crops of
    half the area, flip, colour jitter 0.4, lighting 0.1, CutMix on every batch. Small images: Siamese augmentation
    without cutout, CutMix on every second batch.

    Departs: the last epoch is reported; there the best of a hundred looks at the test images (`looks`).
    The first images of a class are taken in the order of the set, not of file names ("10" before "2").
    """
    many = setting.classes > 100
    epochs = _epochs(setting)
    every = max(epochs // 100, 1)
    return Plan(
        training=Training(
            epochs=epochs,
            batch=min(128 if many else 64, setting.images),
            rate=0.1 if many else 0.01,
            optimiser=Sgd(momentum=0.9, weight_decay=1e-4 if many else 5e-4),
            schedule=Drops(at=(2 / 3, 5 / 6), by=0.2),
        ),
        changes=_changes(setting),
        labels="hard",
        test_side=setting.size,
        looks=tuple(range(every, epochs + 1, every)),
    )


def _epochs(setting: Setting) -> int:
    fitting = [epochs for limit, epochs in EPOCHS if setting.per_class <= limit]
    epochs = fitting[0] if fitting else 300
    return epochs * 2 // 300 * 100 if setting.classes == 100 else epochs


def _changes(setting: Setting) -> tuple[Augment, ...]:
    if setting.size <= SMALL:
        kept = tuple(name for name in surviving(setting.mirror) if name != "cutout")
        return (Siamese(operations=kept), CutMix(probability=0.5))
    mirrored = (Flip(probability=0.5),) if setting.mirror else ()
    return (Crop(least_area=0.5), *mirrored, Jitter(strength=0.4), Lighting(strength=0.1), CutMix())


MINIMAX = Protocol(
    name="hard-minimax",
    version=1,
    rule=minimax,
    students=("convnet-6-instance", "resnetap-10-instance", "resnet-18-instance"),
)

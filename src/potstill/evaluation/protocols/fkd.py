"""SRe2L's evaluation: labels of a teacher that were stored view by view."""

from potstill.evaluation.protocol import Plan, Protocol, Setting
from potstill.evaluation.protocols.rded import rate, test_side
from potstill.nets.augment import Crop, CutMix, Flip
from potstill.nets.fit import Training
from potstill.nets.optimiser import AdamW
from potstill.nets.schedule import Cosine

STEPS = 10
"""The least number of steps of an epoch on a small set."""


def fkd(setting: Setting) -> Plan:
    """Stored soft labels at T = 20, crops from 8 per cent of the area, flip and CutMix, 300 epochs of AdamW to rate 0.

    Source: SRe2L (Yin et al. 2023, arXiv:2306.13092), train_FKD, with the labels of fast knowledge distillation
    (Shen & Xing 2022, arXiv:2112.01528): rate 1e-3, weight decay 0.01, batch 1024 in parts of 512.

    Departs:
    * The last epoch is reported; SRe2L keeps the best of 31 looks at the test images (`looks`).
    * Parts of an uneven batch are weighted by their images; there each counts the same.
    * A batch is at most a tenth of the images and at least 10: the source has no set of fewer than 10,000, and
      an epoch of one step would not train.
    """
    wanted = min(1024, max(setting.images // STEPS, 10))
    mirrored = (Flip(probability=0.5),) if setting.mirror else ()
    return Plan(
        training=Training(
            epochs=300,
            batch=min(wanted, setting.images),
            rate=rate(setting.student),
            optimiser=AdamW(weight_decay=0.01, betas=(0.9, 0.999)),
            schedule=Cosine(share=1.0),
            micro=512,
        ),
        changes=(Crop(least_area=0.08), *mirrored, CutMix()),
        labels="stored",
        temperature=20.0,
        test_side=test_side(setting.size),
        looks=(*range(1, 300, 10), 300),
    )


FKD = Protocol(name="fkd", version=1, rule=fkd, students=("resnet-18", "resnet-50", "resnet-101"))

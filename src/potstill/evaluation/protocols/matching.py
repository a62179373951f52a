"""How the matching papers evaluate: hard labels, plain SGD, one drop of the rate."""

from dataclasses import replace

from potstill.evaluation.protocol import Plan, Protocol, Setting
from potstill.nets.fit import Training
from potstill.nets.optimiser import Sgd
from potstill.nets.schedule import Drops
from potstill.nets.siamese import Siamese, surviving


def dc(setting: Setting) -> Plan:
    """Hard labels without augmentation, 301 epochs of SGD, the rate a tenth for the second half.

    Source: DC (Zhao et al. 2021, arXiv:2006.05929) and its repository's `evaluate_synset`: rate 0.01, momentum 0.9,
    weight decay 5e-4 on every parameter, batch 256, E + 1 epochs with E = 300; at the end of epoch E/2 + 1 a new
    optimiser, without momentum, takes a tenth of the rate. The last epoch is reported there too.

    Departs: nets normalise by ImageNet's colours for all data (there: each data set's own). The old augmentation of
    DC for MNIST and BatchNorm nets is left out.
    """
    return Plan(
        training=Training(
            epochs=301,
            batch=min(256, setting.images),
            rate=0.01,
            optimiser=Sgd(momentum=0.9, weight_decay=5e-4),
            schedule=Drops(at=(0.5,), by=0.1, late=2, restart=True),
        ),
        changes=(),
        labels="hard",
        test_side=setting.size,
    )


def dsa(setting: Setting) -> Plan:
    """The same for 1001 epochs, each batch changed by one operation of Siamese augmentation.

    Source: DSA (Zhao & Bilen 2021, arXiv:2102.08259) and DM: the full strategy, without the flip where it
    changes classes.
    """
    plain = dc(setting)
    return replace(
        plain,
        training=replace(plain.training, epochs=1001),
        changes=(Siamese(operations=surviving(setting.mirror)),),
    )


DC = Protocol(name="dc", version=1, rule=dc, students=("convnet-3-instance",))
DSA = Protocol(name="dsa", version=1, rule=dsa, students=DC.students)

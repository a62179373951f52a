"""How GLaD and LD3M evaluate across architectures."""

from potstill.evaluation.protocol import Plan, Protocol, Setting
from potstill.nets.fit import Training
from potstill.nets.optimiser import Sgd
from potstill.nets.schedule import WarmCosine
from potstill.nets.siamese import Siamese, surviving


def glad(setting: Setting) -> Plan:
    """Hard labels, Siamese augmentation, 1000 epochs of SGD warmed up for half of them, tested on averaged values.

    Source: GLaD (Cazenavette et al. 2023, arXiv:2305.01649) and LD3M (arXiv:2403.03881), shared code: momentum
    0.9, weight decay 5e-4, batch 256, rate 1e-3 (VGG 1e-4), a straight warm-up over 500 epochs and a cosine to 0
    over 500; a running mean of the values with decay 0.995 is what is tested, once.

    Departs: they keep the best over the iterations of distillation, on the test images; a set here is tested
    once. Students are InstanceNorm nets as there, but for its VGG-11 and ViT as `nets` documents them.
    """
    return Plan(
        training=Training(
            epochs=1000,
            batch=min(256, setting.images),
            rate=1e-4 if setting.student.kind == "vgg" else 1e-3,
            optimiser=Sgd(momentum=0.9, weight_decay=5e-4),
            schedule=WarmCosine(warm=0.5),
            average=0.995,
        ),
        changes=(Siamese(operations=surviving(setting.mirror)),),
        labels="hard",
        test_side=setting.size,
    )


GLAD = Protocol(
    name="glad",
    version=1,
    rule=glad,
    students=("convnet-5-instance", "resnet-18-small-instance", "vgg-11", "alexnet", "vit"),
)

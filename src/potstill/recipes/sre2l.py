"""SRe2L on digits, and with the settings of its three published scripts.

Those for CIFAR-100 and Tiny ImageNet need a ResNet-18 in the folder that they name; `potstill teach --net
resnet-18-small` trains one, with the stem for small images that the source's have.
"""

import dataclasses

from potstill.methods.sre2l import Sre2l
from potstill.recipes import digits
from potstill.recipes.recipe import Recipe

CIFAR = "./models/cifar100-resnet-18"
TINY = "./models/tiny-imagenet-resnet-18"
IMAGENET = "microsoft/resnet-18"


def digits_sre2l() -> Recipe:
    """SRe2L from the shipped teacher: the views of CIFAR-100's script, fewer iterations, a heavier BatchNorm term."""
    method = Sre2l(teacher="digits/teacher", iterations=300, statistics=1.0, least_area=None, roll=(0, 4))
    summary = "SRe2L: images recovered from the teacher's BatchNorm statistics"
    return dataclasses.replace(digits.random(), name="digits-sre2l", summary=summary, method=method)


def cifar100() -> Recipe:
    """SRe2L's script for CIFAR-100: the whole image, not mirrored."""
    method = Sre2l(teacher=CIFAR, iterations=1000, least_area=None, roll=(0, 4))
    return _published("cifar100", "hub:uoft-cs/cifar100", method, "resnet-18-small")


def tiny_imagenet() -> Recipe:
    """SRe2L's script for Tiny ImageNet."""
    method = Sre2l(teacher=TINY, rate=0.1, statistics=1.0, roll=(-4, 4))
    return _published("tiny-imagenet", "hub:zh-plus/tiny-imagenet", method, "resnet-18-small")


def imagenet_1k() -> Recipe:
    """SRe2L's script for ImageNet-1K.

    Departs: the hub's ResNet-18, where the source has torchvision's.
    """
    return _published("imagenet-1k", "hub:ILSVRC/imagenet-1k", Sre2l(teacher=IMAGENET), "resnet-18")


def _published(name: str, data: str, method: Sre2l, student: str) -> Recipe:
    return Recipe(
        name=f"{name}-sre2l",
        summary=f"SRe2L by its script for {name}",
        method=method,
        data=data,
        images_per_class=50,
        student=student,
        teacher=method.teacher,
    )

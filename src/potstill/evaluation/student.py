"""One student: trained under a protocol, then tested."""

import torch
from torch import Tensor, nn

from potstill.core.progress import OnStep, silent
from potstill.core.seeds import generator
from potstill.evaluation.protocol import Protocol
from potstill.labels import Labeller
from potstill.nets.fit import fit
from potstill.nets.predict import predict
from potstill.nets.spec import Net, build

TEST_ROWS = 256

Labelled = tuple[Tensor, Tensor]
"""Images, uint8 [n, 3, s, s], and their labels, int64 [n]."""


def train_student(
    train: Labelled,
    *,
    protocol: Protocol,
    student: Net,
    classes: int,
    labeller: Labeller,
    seed: int,
    mirror: bool,
    device: torch.device | str = "cpu",
    on_step: OnStep = silent,
) -> tuple[nn.Module, float]:
    """A student trained under a protocol, in eval mode, and the mean loss of its last epoch.

    It depends on nothing but the arguments: start values and draws come from `seed` alone, so that
    students of the same seed on different sets start alike. `mirror` says whether a flip keeps the
    classes.
    """
    images, labels = train
    size = images.shape[-1]
    module = build(student, classes, size, generator(seed, "student", "start")).to(device)
    with_momentum(module, protocol.norm_momentum)
    loss = fit(
        module,
        images,
        labels,
        classes=classes,
        training=protocol.training(student, len(images), classes),
        generator=generator(seed, "student", "fit"),
        loss=labeller.loss,
        augment=protocol.augmentation(size, mirror=mirror),
        on_step=on_step,
    )
    return module, loss


def with_momentum(module: nn.Module, momentum: float) -> None:
    """Sets how far each batch moves the running statistics of all BatchNorms."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = momentum


def hits(module: nn.Module, images: Tensor, labels: Tensor, *, among: int = 5) -> tuple[float, float]:
    """The shares of images whose class is the first guess and whose class is among the first `among`.

    Images are uint8 [n, 3, s, s]; the module is used as it is, on its device.
    """
    device = next(module.parameters()).device
    right = torch.zeros(2, dtype=torch.int64)
    for rows, truth in zip(images.split(TEST_ROWS), labels.split(TEST_ROWS), strict=True):
        views = rows.to(device).contiguous(memory_format=torch.channels_last).float().div_(255)
        logits = predict(module, views)
        guesses = logits.topk(min(among, logits.shape[1]), dim=1).indices.cpu()
        found = guesses == truth[:, None]
        right += torch.stack((found[:, 0].sum(), found.any(1).sum()))
    first, any_ = right.tolist()
    return first / len(images), any_ / len(images)

"""One student: trained under a protocol, then tested."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from potstill.core.progress import OnStep, silent
from potstill.core.seeds import generator
from potstill.evaluation.protocol import Plan
from potstill.labels import Labeller
from potstill.nets.augment import in_turn
from potstill.nets.fit import Listener, fit
from potstill.nets.predict import predict
from potstill.nets.spec import Net, build

TEST_ROWS = 256

Labelled = tuple[Tensor, Tensor]
"""Images [n, 3, s, s], uint8 or, to train on, float32 around [0, 1], and their labels, int64 [n]."""


def train_student(
    train: Labelled,
    *,
    plan: Plan,
    student: Net,
    classes: int,
    labeller: Labeller,
    seed: int,
    check: Callable[[], None] | None = None,
    after_epoch: Listener | None = None,
    device: torch.device | str = "cpu",
    on_step: OnStep = silent,
) -> tuple[nn.Module, float]:
    """A student trained by a plan, in eval mode, and the mean loss of its last epoch.

    It depends on nothing but the arguments: start values and draws come from `seed` alone (draws of stored labels
    from their file), so that students of the same seed on different sets start alike. `check` is
    called before everything that the student is shown, here and later, and may stop it by raising.
    """
    images, labels = train
    module = build(student, classes, images.shape[-1], generator(seed, "student", "start")).to(device)
    if plan.norm_momentum is not None:
        with_momentum(module, plan.norm_momentum)
    if check is not None:
        module.register_forward_pre_hook(lambda *_: check())
    loss = fit(
        module,
        images,
        labels,
        classes=classes,
        training=plan.training,
        generator=labeller.draws(seed),
        loss=labeller.loss,
        augment=in_turn(plan.changes),
        after_epoch=after_epoch,
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
        views = rows.to(device).float().div_(255)
        logits = predict(module, views)
        guesses = logits.topk(min(among, logits.shape[1]), dim=1).indices.cpu()
        found = guesses == truth[:, None]
        right += torch.stack((found[:, 0].sum(), found.any(1).sum()))
    first, any_ = right.tolist()
    return first / len(images), any_ / len(images)

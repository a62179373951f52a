"""The one training loop: students, teachers and everything else that classifies."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from potstill.core.errors import PotstillError
from potstill.core.progress import OnStep, Step, silent
from potstill.nets.augment import Augment, unchanged
from potstill.nets.average import Average
from potstill.nets.checkpoint import Checkpoint
from potstill.nets.layers import in_order, ordered
from potstill.nets.optimiser import AdamW, Optimiser
from potstill.nets.schedule import Cosine, Schedule


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """A batch as the net sees it.

    `images` are [n, 3, s, s] in [0, 1] after augmentation, `shares` float [n, classes] with rows that sum to 1,
    each a class or, after CutMix, two in proportion to their areas. `rows` are the rows of the images that were
    augmented, `epoch` and `index` count epochs and batches of an epoch from 0, and a part of a batch begins at
    its `start`.
    """

    images: Tensor
    shares: Tensor
    rows: Tensor
    epoch: int
    index: int
    start: int = 0


Loss = Callable[[Tensor, View], Tensor]
"""Logits [n, classes] and the view they belong to, to a scalar: a mean over the view's images."""

Listener = Callable[[int, nn.Module], None]
"""Called with the number of epochs done and the net in eval mode."""


def cross_entropy(logits: Tensor, view: View) -> Tensor:
    """Mean cross-entropy with class shares, which is linear in the shares."""
    return functional.cross_entropy(logits, view.shares)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How long, how fast and by which optimiser a net is trained.

    Batches of more than `micro` images go through the net in parts of at most so many, whose gradients are
    weighed by their images (None: never parted). `average` is the decay of a running mean over epochs of all
    values, which then is the result (None: the last values). Raises PotstillError where epochs, batch, micro
    or rate are not positive.
    """

    epochs: int
    batch: int
    rate: float = 1e-3
    optimiser: Optimiser = field(default_factory=AdamW)
    schedule: Schedule = field(default_factory=Cosine)
    micro: int | None = None
    average: float | None = None

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch, self.micro or 1) < 1:
            raise PotstillError(
                "training needs epochs, batch and micro of at least 1, not "
                f"{self.epochs}, {self.batch}, {self.micro}"
            )
        if not 0 < self.rate < math.inf:
            raise PotstillError(f"the rate of training must be positive and finite, not {self.rate}")


def fit(
    module: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    classes: int,
    training: Training,
    generator: torch.Generator,
    loss: Loss = cross_entropy,
    augment: Augment = unchanged,
    stage: str = "train",
    checkpoint: Checkpoint | None = None,
    after_epoch: Listener | None = None,
    on_step: OnStep = silent,
) -> float:
    """Trains a module in place and returns the mean loss of the last epoch.

    Images [n, 3, s, s] are uint8, or float around [0, 1], and labels int64 [n]; they are moved to the module's
    device once and computed on in its dtype. Order and augmentation come from `generator` alone. The same call
    gives the same bits on a CPU with the same number of threads, also where a `checkpoint` lets it go on after a kill.
    `on_step` hears of each epoch its mean loss and its learning rate. The module is left in eval mode.
    Raises PotstillError without images and where the loss is not finite any more.
    """
    if not len(images):
        raise PotstillError("there are no images to train on")
    device, dtype = next((value.device, value.dtype) for value in module.parameters())
    in_order(module).train()
    pixels, targets = images.permute(0, 2, 3, 1).contiguous().to(device), labels.to(device)
    optimiser = training.optimiser.build(module, training.rate)
    average = Average(module, training.average) if training.average is not None else None
    first, mean = 0, math.nan
    if checkpoint is not None:
        first, mean = checkpoint.load(module, optimiser, generator, average)
    for epoch in range(first, training.epochs):
        if training.schedule.restarts(epoch, training.epochs):
            optimiser = training.optimiser.build(module, training.rate)
        rate = training.rate * training.schedule.factor(epoch, training.epochs)
        for group in optimiser.param_groups:
            group["lr"] = rate
        total = torch.zeros((), device=device)
        for view in views(pixels, targets, classes, training.batch, dtype, augment, generator, epoch):
            optimiser.zero_grad()
            total += _backward(module, view, loss, training.micro) * len(view.rows)
            optimiser.step()
        mean = total.item() / len(images)
        if not math.isfinite(mean):
            raise PotstillError(f"training diverged: the loss of epoch {epoch + 1} is {mean}")
        if average is not None:
            average.update(module)
        if after_epoch is not None:
            after_epoch(epoch + 1, module.eval())
            module.train()
        if checkpoint is not None:
            checkpoint.save(epoch + 1, training.epochs, mean, module, optimiser, generator, average)
        scalars = {"loss": mean, "rate": rate}
        on_step(Step(stage=stage, index=epoch + 1, total=training.epochs, scalars=scalars))
    if average is not None:
        average.into(module)
    module.eval()
    return mean


def views(
    pixels: Tensor,
    targets: Tensor,
    classes: int,
    batch: int,
    dtype: torch.dtype,
    augment: Augment,
    generator: torch.Generator,
    epoch: int = 0,
) -> Iterator[View]:
    """The views of one epoch, drawn from `generator`: pixels [n, h, w, 3], uint8 or float, targets int64 [n]."""
    for index, order in enumerate(batches(len(pixels), batch, generator)):
        rows = order.to(pixels.device)
        images = pixels[rows].permute(0, 3, 1, 2).to(dtype)
        if not pixels.is_floating_point():
            images.div_(255)
        shares = functional.one_hot(targets[rows], classes).to(dtype)
        images, shares = augment(images, shares, generator)
        yield View(images=images, shares=shares, rows=rows, epoch=epoch, index=index)


def batches(count: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """All row numbers in random order, `batch` at a time; a last single row joins the batch before it.

    BatchNorm can't take the deviation of one image whose feature map is one pixel.
    """
    parts = list(torch.randperm(count, generator=generator).split(batch))
    if batch > 1 and len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    yield from parts


def _backward(module: nn.Module, view: View, loss: Loss, micro: int | None) -> Tensor:
    """Adds the gradients of a view to the parameters; the mean loss comes back."""
    count, view = len(view.rows), replace(view, images=ordered(module, view.images))
    if micro is None or count <= micro:
        value = loss(module(view.images), view)
        value.backward()
        return value.detach()
    total = torch.zeros((), device=view.images.device)
    for part in _parts(view, micro):
        value = loss(module(part.images), part) * (len(part.rows) / count)
        value.backward()
        total += value.detach()
    return total


def _parts(view: View, most: int) -> Iterator[View]:
    for start in range(0, len(view.rows), most):
        part = slice(start, start + most)
        yield replace(
            view, images=view.images[part], shares=view.shares[part], rows=view.rows[part], start=start
        )

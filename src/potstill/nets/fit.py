"""The one training loop: students, teachers and everything else that classifies."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from potstill.core.errors import PotstillError
from potstill.core.progress import OnStep, Step, silent
from potstill.nets.augment import Augment, unchanged
from potstill.nets.layers import channels_last

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Logits [n, classes], the images they belong to and class shares [n, classes] to a scalar."""


def cross_entropy(logits: Tensor, images: Tensor, shares: Tensor) -> Tensor:
    """Mean cross-entropy with class shares [n, classes], which is linear in the shares."""
    return functional.cross_entropy(logits, shares)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """AdamW's settings and how long it runs.

    The learning rate of an epoch is `rate` times 0.5 (1 + cos(pi cosine epoch / epochs)): a `cosine` of
    0.5 ends at half of `rate`, 1 ends at 0, 0 keeps it. Raises PotstillError where epochs or batch are
    not positive.
    """

    epochs: int
    batch: int
    rate: float = 1e-3
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    cosine: float = 1.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1:
            raise PotstillError(
                f"training needs epochs and batch of at least 1, not {self.epochs}, {self.batch}"
            )

    def factor(self, epoch: int) -> float:
        """What the learning rate is multiplied by in an epoch (0-based)."""
        return 0.5 * (1 + math.cos(math.pi * self.cosine * epoch / self.epochs))


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
    on_step: OnStep = silent,
) -> float:
    """Trains a module in place and returns the mean loss of the last epoch.

    Images are uint8 [n, 3, s, s] and labels int64 [n]; they are moved to the module's device once and
    computed on in its dtype. Order and augmentation come from `generator` alone. The same call gives the
    same bits on a CPU with the same number of threads. `on_step` hears of each epoch its mean loss and
    its learning rate. The module is left in eval mode. Raises PotstillError without images and where the
    loss is not finite any more.
    """
    if not len(images):
        raise PotstillError("there are no images to train on")
    device, dtype = next((value.device, value.dtype) for value in module.parameters())
    channels_last(module).train()
    pixels = images.permute(0, 2, 3, 1).contiguous().to(device)
    targets = labels.to(device)
    optimiser = adamw(module, training)
    mean = math.nan
    for epoch in range(training.epochs):
        for group in optimiser.param_groups:
            group["lr"] = training.rate * training.factor(epoch)
        total = torch.zeros((), device=device)
        for order in batches(len(images), training.batch, generator):
            rows = order.to(device)
            views = pixels[rows].permute(0, 3, 1, 2).to(dtype).div_(255)
            shares = functional.one_hot(targets[rows], classes).to(dtype)
            views, shares = augment(views, shares, generator)
            value = loss(module(views), views, shares)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            total += value.detach() * len(rows)
        mean = total.item() / len(images)
        if not math.isfinite(mean):
            raise PotstillError(f"training diverged: the loss of epoch {epoch + 1} is {mean}")
        scalars = {"loss": mean, "rate": optimiser.param_groups[0]["lr"]}
        on_step(Step(stage=stage, index=epoch + 1, total=training.epochs, scalars=scalars))
    module.eval()
    return mean


def adamw(module: nn.Module, training: Training) -> torch.optim.AdamW:
    """AdamW that decays weights of more than one dimension and leaves biases and norms alone, as in RDED."""
    groups: dict[bool, list[Tensor]] = {True: [], False: []}
    for name, parameter in module.named_parameters():
        groups["weight" in name and parameter.ndim > 1].append(parameter)
    settings = [
        {"params": groups[True], "weight_decay": training.weight_decay},
        {"params": groups[False], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(settings, lr=training.rate, betas=training.betas, fused=True)


def batches(count: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """All row numbers in random order, `batch` at a time; a last single row joins the batch before it.

    BatchNorm can't take the deviation of one image whose feature map is one pixel.
    """
    parts = list(torch.randperm(count, generator=generator).split(batch))
    if batch > 1 and len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    yield from parts

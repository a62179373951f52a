"""The plain evaluation loop that `evaluation.py` times, written from what RDED's public validation does.

Images as PIL, transforms a sample, a loader of four processes that is started anew every epoch, one seed at a time, a
second forward pass of the student whose result is not used, three numbers read a step, tests in batches of 50 by a
loader, and tensors in PyTorch's usual memory order. The flip is left out, for digits don't survive it.
"""

import copy
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from potstill.core.seeds import generator
from potstill.evaluation.student import Labelled
from potstill.nets.layers import DEVIATION, MEAN
from potstill.nets.spec import Net, build

SIDE, BATCH, WORKERS, TEMPERATURE = 32, 50, 4, 20.0


class Pictures(Dataset[tuple[Tensor, int]]):
    """PIL images in memory, transformed one by one."""

    def __init__(self, images: Tensor, labels: Tensor, *, training: bool) -> None:
        arrays = images.permute(0, 2, 3, 1).contiguous().numpy()
        self.images = [Image.fromarray(array) for array in arrays]
        self.labels, self.training = labels.tolist(), training
        self.mean, self.deviation = (torch.tensor(v)[:, None, None] for v in (MEAN, DEVIATION))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        image = self.images[row]
        if not self.training:
            image = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
        if self.training:
            top, left, height, width = whole_box(SIDE)
            tensor = tensor[:, top : top + height, left : left + width]
        return tensor.clone().sub_(self.mean).div_(self.deviation), self.labels[row]


def whole_box(side: int) -> tuple[int, int, int, int]:
    """The crop of the area's share (1, 1): ten tries of which only a unit aspect fits, then the whole image."""
    low, high = math.log(3 / 4), math.log(4 / 3)
    for _ in range(10):
        ratio = math.exp(torch.empty(1).uniform_(low, high).item())
        width, height = round(side * math.sqrt(ratio)), round(side / math.sqrt(ratio))
        if width <= side and height <= side:
            break
    return 0, 0, side, side


def loader(data: Labelled, *, training: bool) -> DataLoader[Any]:
    """Four processes, started anew for every pass."""
    pictures = Pictures(*data, training=training)
    return DataLoader(pictures, BATCH, shuffle=training, num_workers=WORKERS)


def plain(
    train: Labelled, test: Labelled, teacher: nn.Module, epochs: int, seeds: Sequence[int], width: int
) -> dict[str, Any]:
    """Best accuracies, one seed after the other, and seconds a test: every tenth of the last fifth of the epochs."""
    torch.multiprocessing.set_sharing_strategy("file_system")
    wise = bare(copy.deepcopy(teacher))
    accuracy, spent, tests = [], 0.0, 0
    for seed in seeds:
        torch.manual_seed(seed)
        student = bare(build(Net(width=width), 10, SIDE, generator(seed, "student", "start")))
        optimiser = torch.optim.AdamW(groups(student), lr=1e-3)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda epoch: 0.5 * (1 + math.cos(math.pi * epoch / epochs / 2))
        )
        batches, looks = loader(train, training=True), loader(test, training=False)
        best = 0.0
        for epoch in range(epochs):
            plain_epoch(student, wise, optimiser, batches)
            schedule.step()
            if epoch > 0.8 * epochs and epoch % 10 == 9 or epoch == epochs - 1:
                started = time.perf_counter()
                best, tests = max(best, plain_test(student, looks)), tests + 1
                spent += time.perf_counter() - started
        accuracy.append(best)
    return {"accuracy": accuracy, "test_seconds": spent / tests}


def bare(module: nn.Module) -> nn.Module:
    """The net for images that the loader has normalised, in PyTorch's usual memory order."""
    module.normalise = nn.Identity()
    return module.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]


def groups(module: nn.Module) -> list[dict[str, Any]]:
    """Decay for weights of more than one dimension."""
    parts: dict[bool, list[Tensor]] = {True: [], False: []}
    for name, value in module.named_parameters():
        parts["weight" in name and value.ndim > 1].append(value)
    return [{"params": parts[True], "weight_decay": 0.01}, {"params": parts[False], "weight_decay": 0}]


def plain_epoch(
    student: nn.Module, wise: nn.Module, optimiser: torch.optim.Optimizer, batches: DataLoader[Any]
) -> None:
    """One pass: CutMix in place, the student shown every batch twice."""
    student.train()
    for images, labels in batches:
        partner = torch.randperm(len(images))
        side = int(SIDE * math.sqrt(1 - np.random.beta(1.0, 1.0)))
        edges = [np.clip([c - side // 2, c + side // 2], 0, SIDE) for c in np.random.randint(SIDE, size=2)]
        rows, columns = (slice(int(low), int(high)) for low, high in edges)
        images[:, :, rows, columns] = images[partner][:, :, rows, columns]
        with torch.no_grad():
            shown = student(images)
            wanted = (wise(images) / TEMPERATURE).softmax(1)
        found = (student(images) / TEMPERATURE).log_softmax(1)
        loss = functional.kl_div(found, wanted, reduction="batchmean")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        ranked = shown.topk(5).indices == labels[:, None]
        for shown_number in (loss, ranked[:, 0].sum(), ranked.sum()):
            shown_number.item()


@torch.no_grad()
def plain_test(student: nn.Module, looks: DataLoader[Any]) -> float:
    """The share of first guesses that are right."""
    student.eval()
    right = count = 0
    for images, labels in looks:
        ranked = student(images).topk(5).indices == labels[:, None]
        right += int(ranked[:, 0].sum().item())
        ranked.sum().item()
        count += len(labels)
    return right / count

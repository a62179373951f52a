"""IDM's objective: class means in nets that are in training, and labels, by as much as the net can be trusted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from potstill.core.seeds import generator
from potstill.data.real import RealData
from potstill.nets.siamese import OPERATIONS
from potstill.objectives.batches import per_class
from potstill.objectives.comparing import Comparing, class_means, features, require_from_1

FIRST = 3
"""Nets that the queue begins with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Idm:
    """Squared distances of class means, plus cross-entropy weighed by the net's accuracy, in a queue of nets.

    Source: IDM (Zhao et al. 2023, arXiv:2307.09742), sections 3.3 and 3.4, with the numbers of its CIFAR-10 command at
    10 images per class. Every `interval` iterations a new random net joins the queue, from which the oldest leaves at
    `nets`. An iteration looks through one net, in evaluation mode, and then trains `trained` of them for `steps`
    batches of `batch_net` real images. The weight of cross-entropy is `weight` times the net's accuracy in per cent on
    the batches of its last training, 0 before the first. Its partitioning is the canvas `pixels` with `parts` of 2.

    Departs: one step moves all classes, where the code steps class by class with momentum shared between the steps;
    accuracy is that of the net's last training, there of all since the last evaluation; one pass gives features and
    logits. Raises PotstillError for numbers below 1.
    """

    kind: Literal["idm"] = "idm"
    net: str = "convnet-3-instance"
    batch: int = 256
    operations: tuple[str, ...] = OPERATIONS
    weight: float = 0.5
    nets: int = 100
    interval: int = 30
    trained: int = 2
    steps: int = 10
    rate_net: float = 0.01
    batch_net: int = 256

    def __post_init__(self) -> None:
        require_from_1(self, "batch", "batch_net", "nets", "interval", "trained", "steps")

    def prepare(
        self, real: RealData, *, images_per_class: int, size: int, seed: int, device: str
    ) -> "IdmMatcher":
        """Reads the real images; raises PotstillError for an unknown net or operation."""
        return IdmMatcher(self, real, size=size, seed=seed, device=device)


@dataclass(eq=False)
class Queued:
    """A net of the queue: its number since the start, and its accuracy in its last training."""

    number: int
    net: nn.Module
    accuracy: float = 0.0


class IdmMatcher(Comparing[Idm]):
    """IDM made ready; its queue lives between iterations."""

    def __init__(self, settings: Idm, real: RealData, *, size: int, seed: int, device: str) -> None:
        super().__init__(settings, real, size=size, seed=seed, device=device)
        self.queue: list[Queued] = []
        self.made = 0

    def begin(self, iteration: int) -> int:
        """Lets a new net in where it is time, and picks the one to look through."""
        self.iteration = iteration
        while self.made < FIRST:
            self._join()
        if iteration % self.settings.interval == 0:
            self._join()
        draws = generator(self.seed, "queue", iteration)
        self.seen, *self.taught = (
            self.queue[int(torch.randint(len(self.queue), (), generator=draws))]
            for _ in range(1 + self.settings.trained)
        )
        return 1

    def loss(self, images: Tensor, labels: Tensor, step: int) -> Tensor:
        """Sum over classes |mean of real features - mean of synthetic features|^2, plus the weighed cross-entropy."""
        each = per_class(labels, self.classes)
        net: Any = self.seen.net.requires_grad_(False).eval()
        real, synthetic = self.alike(images, step)
        found = features(net, torch.cat(synthetic))
        apart = (class_means(net, real) - found.unflatten(0, (self.classes, each)).mean(1)).square().sum()
        trust = self.settings.weight * 100 * self.seen.accuracy
        naming = functional.cross_entropy(net.head(found), labels, reduction="sum") / each
        return apart + trust * naming

    def learn(self, images: Callable[[], Tensor], labels: Tensor, step: int) -> None:
        """Trains nets of the queue on real batches."""
        for turn, queued in enumerate(self.taught):
            draws = generator(self.seed, "train", self.iteration, turn)
            self._train(queued, draws)

    def state(self) -> Mapping[str, Any]:
        """The queue."""
        held = [
            {"number": one.number, "accuracy": one.accuracy, "net": one.net.state_dict()}
            for one in self.queue
        ]
        return {"made": self.made, "queue": held}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The queue as it was."""
        self.made, self.queue = state["made"], []
        for held in state["queue"]:
            queued = self._new(held["number"])
            queued.net.load_state_dict(held["net"])
            queued.accuracy = held["accuracy"]
            self.queue.append(queued)

    def _join(self) -> None:
        self.queue.append(self._new(self.made))
        self.made += 1
        if len(self.queue) > self.settings.nets:
            self.queue.pop(0)

    def _new(self, number: int) -> Queued:
        return Queued(number, self.fresh(number))

    def _train(self, queued: Queued, draws: torch.Generator) -> None:
        net = queued.net.requires_grad_(True).train()
        optimiser = torch.optim.SGD(
            net.parameters(), lr=self.settings.rate_net, momentum=0.9, weight_decay=5e-4
        )
        right = 0
        for _ in range(self.settings.steps):
            images, labels = self.real.any(self.settings.batch_net, draws)
            logits = net(images)
            right += int((logits.argmax(1) == labels).sum())
            optimiser.zero_grad()
            functional.cross_entropy(logits, labels).backward()
            optimiser.step()
        queued.accuracy = right / (self.settings.steps * self.settings.batch_net)

"""Trajectory matching: a student that takes steps on synthetic images should arrive where an expert did."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count, islice, zip_longest
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from potstill.canvas import Learned
from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.core.settings import require_allowed
from potstill.data.real import RealData
from potstill.nets.augment import Augment, unchanged
from potstill.nets.fit import batches
from potstill.nets.layers import Draws
from potstill.nets.siamese import OPERATIONS, Siamese, surviving
from potstill.nets.spec import Net, build
from potstill.objectives.experts import BUFFER, Buffer, Values, of_these_images

Cost = Callable[[Values, Tensor, int], Tensor]
"""The loss of a student's step: its parameters, all synthetic images and the step's number, from 0, to a scalar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrajectoryMatching:
    """Students start where an expert stood and should arrive where it stood `expert_epochs` later.

    Source: MTT (Cazenavette et al. 2022, arXiv:2203.11932), section 3.2 and algorithm 1; the defaults are those of
    its code. `buffer` is a folder that `potstill buffer` made; starts are drawn from its epochs 0 to `max_start` - 1.
    A student takes `steps` steps on batches of `batch` images (None: all), each changed by one of `operations` (none:
    unchanged), every image with its own strength. Their step size begins at `rate` and is learned at
    `rate_of_rate`. `unroll` says how gradients come about: "full" as in MTT, see `full_unroll`, "constant" as in
    TESLA, see `constant_memory`. Departs: no flip where classes don't survive it; the step size has no bound, as in
    the code. Raises PotstillError for a value out of range.
    """

    kind: Literal["trajectory"] = "trajectory"
    buffer: str
    steps: int = 20
    expert_epochs: int = 3
    max_start: int = 25
    batch: int | None = None
    rate: float = 0.01
    rate_of_rate: float = 1e-5
    operations: tuple[str, ...] = OPERATIONS
    unroll: Literal["full", "constant"] = "full"

    def __post_init__(self) -> None:
        require_allowed(self)
        named = {"steps": self.steps, "expert_epochs": self.expert_epochs, "max_start": self.max_start}
        for name, value in (named | {"batch": 1 if self.batch is None else self.batch}).items():
            if value < 1:
                raise PotstillError(f"{name!r} of trajectory matching must be at least 1, not {value}")
        if not 0 < self.rate < math.inf:
            raise PotstillError(f"the rate of trajectory matching must be positive, not {self.rate}")
        if not 0 <= self.rate_of_rate < math.inf:
            raise PotstillError(
                f"the rate of the rate of trajectory matching must be at least 0, not {self.rate_of_rate}"
            )
        Siamese(operations=self.operations)

    def prepare(
        self, real: RealData, *, images_per_class: int, size: int, seed: int, device: str
    ) -> "TrajectoryMatcher":
        """Opens the buffer.

        Raises PotstillError where its classes, images, size or epochs don't fit, and for a net with dropout, whose
        steps can't be taken twice alike.
        """
        if not (Path(self.buffer) / BUFFER).is_file():
            raise PotstillError(f"{self.buffer} holds no experts: `potstill buffer {self.buffer}` makes them")
        buffer = Buffer.load(Path(self.buffer))
        held, file = buffer.contents, buffer.folder / BUFFER
        for label, (theirs, ours) in enumerate(zip_longest(held.classes, real.classes.keys)):
            if theirs != ours:
                raise PotstillError(
                    f"{file} is for other classes: label {label} is {theirs!r} there and {ours!r} in {real.name}"
                )
        if held.size != size:
            raise PotstillError(f"{file} is for images of {held.size} px, not {size}")
        last = self.max_start - 1 + self.expert_epochs
        if last > held.experts.epochs:
            raise PotstillError(
                f"{file} holds {held.experts.epochs} epochs; max_start {self.max_start} and expert_epochs "
                f"{self.expert_epochs} need {last}"
            )
        module = build(Net.parse(held.experts.net), len(held.classes), size, generator("hollow"))
        if any(isinstance(layer, Draws) for layer in module.modules()):
            raise PotstillError(f"{file} is for {held.experts.net}, which has dropout: it can't be matched")
        if not of_these_images(held, real):
            raise PotstillError(
                f"{file}: its experts have seen other images of {held.data} than those that are matched here, "
                f"{len(real.train)} of {real.name}. `potstill buffer` needs the same --data and --classes, --hold-out "
                "for `watch`, and --prune for `prune`"
            )
        kept = surviving(real.mirror, self.operations)
        return TrajectoryMatcher(
            settings=self,
            buffer=buffer,
            module=module.requires_grad_(False).train().to(device),
            augment=Siamese(operations=kept) if kept else unchanged,
            seed=seed,
            rate=torch.tensor(self.rate, device=device, requires_grad=True),
        )


@dataclass(kw_only=True, eq=False)
class TrajectoryMatcher:
    """Trajectory matching made ready; `module` lends its structure to parameters from the buffer.

    Every iteration has another expert until all had their turn, in an order drawn anew for each round, and its own
    start epoch, batches and changes, drawn from (seed, iteration).
    """

    settings: TrajectoryMatching
    buffer: Buffer
    module: nn.Module
    augment: Augment
    seed: int
    rate: Tensor
    _iteration: int = field(default=0, init=False)

    @property
    def weights(self) -> Mapping[str, str]:
        """The buffer."""
        return {self.settings.buffer: self.buffer.fingerprint}

    @property
    def learned(self) -> Mapping[str, Learned]:
        """The students' step size, a scalar."""
        return {"rate": Learned(self.rate, self.settings.rate_of_rate)}

    def begin(self, iteration: int) -> int:
        """One step of the images."""
        self._iteration = iteration
        return 1

    def loss(self, images: Tensor, labels: Tensor, step: int) -> Tensor:
        """How far the student of this iteration ends from the expert, see `distance`; computed in the images' dtype."""
        start, target = (
            {name: value.to(images) for name, value in values.items()} for values in self._stretch()
        )
        unroll = {"full": full_unroll, "constant": constant_memory}[self.settings.unroll]
        cost = self._cost(labels)
        return unroll(cost, images, start, target, self.rate, self.settings.steps)

    def learn(self, images: Callable[[], Tensor], labels: Tensor, step: int) -> None:
        """Nothing is trained on the images."""

    def state(self) -> Mapping[str, Any]:
        """Nothing lives between iterations but the step size."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore."""

    def _stretch(self) -> tuple[Values, Values]:
        """Where the expert of this iteration stood first and last."""
        turn, place = divmod(self._iteration, self.buffer.contents.experts.count)
        order = torch.randperm(
            self.buffer.contents.experts.count, generator=generator(self.seed, "trajectory", "experts", turn)
        )
        draw = generator(self.seed, "trajectory", "start", self._iteration)
        first = int(torch.randint(self.settings.max_start, (), generator=draw))
        return self.buffer.expert(int(order[place]), first, first + self.settings.expert_epochs)

    def _cost(self, labels: Tensor) -> Cost:
        """Mean cross-entropy of a step's batch, changed as drawn for this step."""
        rows = list(islice(self._rows(len(labels)), self.settings.steps))
        buffers = dict(self.module.named_buffers())

        def cost(values: Values, images: Tensor, number: int) -> Tensor:
            draw = generator(self.seed, "trajectory", "change", self._iteration, number)
            chosen = rows[number].to(images.device)
            changed, targets = self.augment(images[chosen], labels[chosen], draw)
            logits = functional_call(self.module, {**values, **buffers}, (changed,), strict=True)
            return functional.cross_entropy(logits, targets)

        return cost

    def _rows(self, images: int) -> Iterator[Tensor]:
        """Row numbers of batches, all images in random order again and again."""
        for turn in count():
            draw = generator(self.seed, "trajectory", "batches", self._iteration, turn)
            yield from batches(images, self.settings.batch or images, draw)


def distance(values: Values, start: Values, target: Values) -> Tensor:
    """|values - target|^2 / |start - target|^2, a scalar: 0 where the target was met, 1 without a move.

    Source: MTT (arXiv:2203.11932), equation 2.
    """
    return _apart(values, target) / _apart(start, target)


def full_unroll(
    cost: Cost, images: Tensor, start: Values, target: Values, rate: Tensor, steps: int
) -> Tensor:
    """The distance after plain SGD steps from the start, differentiable in images and step size through all of them.

    Source: MTT (arXiv:2203.11932), algorithm 1. Memory grows with the number of steps.
    """
    values = _leaves(start)
    for number in range(steps):
        values = _moved(cost, values, images, rate, number, graph=True)
    return distance(values, start, target)


def constant_memory(
    cost: Cost, images: Tensor, start: Values, target: Values, rate: Tensor, steps: int
) -> Tensor:
    """The same distance with gradients that hold the parameters before each step constant, a step's graph at a time.

    Source: TESLA (Cui et al. 2023, arXiv:2211.10586), section 3.2: with theta_M = theta_0 - rate sum_i g_i and theta_i
    constant in g_i, the gradients of the images and of the step size are sums over steps. A first pass finds the end
    and how the distance pulls on it, a second one takes each step again and adds its share. Departs: GLaD's variant
    of it lost a factor of 2 in LD3M's copy; here gradients are exact. `cost` must give the same loss again.
    """
    still, fixed = images.detach(), rate.detach()
    values = _leaves(start)
    for number in range(steps):
        values = _leaves(_moved(cost, values, still, fixed, number, graph=False))
    apart = distance(values, start, target)
    pull = torch.autograd.grad(apart, tuple(values.values()))
    of_images, of_rate = torch.zeros_like(still), torch.zeros_like(fixed)
    values = _leaves(start)
    for number in range(steps):
        values, shares = _pulled(cost, values, still, fixed, number, pull)
        of_images += shares[0]
        of_rate += shares[1]
    return apart.detach() + ((images - still) * of_images).sum() + (rate - fixed) * of_rate


def _pulled(
    cost: Cost, values: Values, images: Tensor, rate: Tensor, number: int, pull: tuple[Tensor, ...]
) -> tuple[Values, tuple[Tensor, ...]]:
    """The parameters after a step, and the gradients of images and step size by a pull on them."""
    leaves = (images.detach().requires_grad_(), rate.detach().requires_grad_())
    ends = _moved(cost, values, *leaves, number, graph=True)
    return _leaves(ends), torch.autograd.grad(tuple(ends.values()), leaves, grad_outputs=pull)


def _moved(cost: Cost, values: Values, images: Tensor, rate: Tensor, number: int, *, graph: bool) -> Values:
    """The parameters after one step of plain SGD."""
    slopes = torch.autograd.grad(cost(values, images, number), tuple(values.values()), create_graph=graph)
    return {name: value - rate * slope for (name, value), slope in zip(values.items(), slopes, strict=True)}


def _leaves(values: Values) -> Values:
    """The same numbers without a history."""
    return {name: value.detach().requires_grad_() for name, value in values.items()}


def _apart(values: Values, others: Values) -> Tensor:
    return torch.stack([(value - others[name]).square().sum() for name, value in values.items()]).sum()

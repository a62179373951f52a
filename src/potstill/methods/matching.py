"""Matching: a canvas optimised until an objective cannot tell its images from real ones."""

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor

from potstill.canvas import Learned, Surface
from potstill.canvas.chain import Chain
from potstill.canvas.gan_code import GanCode
from potstill.canvas.latents import Latents
from potstill.canvas.pixels import Pixels
from potstill.core.errors import PotstillError
from potstill.core.files import write_json, write_whole
from potstill.core.progress import OnStep, Step
from potstill.core.settings import to_plain
from potstill.core.state import load_state, save_state
from potstill.data.real import RealData, Split
from potstill.distilled import Slot
from potstill.distilled.set import rounded
from potstill.methods.method import Made
from potstill.methods.pruning import Pruning
from potstill.methods.watch import Watch
from potstill.objectives import Matcher
from potstill.objectives.distribution import DistributionMatching
from potstill.objectives.gradient import GradientMatching
from potstill.objectives.idm import Idm
from potstill.objectives.statistics import BatchNormStatistics
from potstill.objectives.trajectory import TrajectoryMatching

STATE, LOOKS, PREVIEWS = "matching.pt", "watch.json", ".previews"
SECONDS = 60.0
"""How far apart states are kept, at least; the last one always is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """`objective` made small over what `canvas` learns, by SGD with momentum.

    Source: DC, DSA, DM, MTT and IDM on pixels, GLaD on the codes of a generator, LD3M on a diffusion chain are all of
    this form and differ in the two parts. All images of a set are learned together. `chunk` slots at a time are made
    and differentiated (GLaD's two passes): less memory, once more the making of images; None is all at once.
    `prune` leaves real images out beforehand; `watch` looks at the set on the way and writes `watch.json`, with the
    seconds of matching alone; `preview` keeps a picture of the set every so many iterations.
    Without iterations the set is the canvas as it begins. Raises PotstillError for other numbers below 1.
    """

    kind: Literal["matching"] = "matching"
    objective: GradientMatching | DistributionMatching | TrajectoryMatching | Idm | BatchNormStatistics
    canvas: Pixels | Latents | Chain | GanCode
    iterations: int = 1000
    momentum: float = 0.5
    chunk: int | None = None
    prune: Pruning | None = None
    watch: Watch | None = None
    preview: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("iterations", 0), ("chunk", 1), ("preview", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise PotstillError(f"matching: {name} must be at least {least}, not {value}")

    def prepare(self, real: RealData, *, seed: int, images_per_class: int, device: str) -> "Match":
        """Prunes the real images, begins the canvas and readies the objective."""
        rest, held = self.watch.split(real) if self.watch else (real, None)
        chosen = self.prune.of(rest, device) if self.prune else rest
        slots = [Slot(key, index) for key in real.classes.keys for index in range(images_per_class)]
        surface = self.canvas.prepare(chosen, slots, seed=seed, device=device)
        matcher = self.objective.prepare(
            chosen,
            images_per_class=images_per_class,
            size=surface.size,
            seed=seed,
            device=device,
        )
        labels = torch.arange(len(real.classes)).repeat_interleave(images_per_class * surface.copies)
        about = [to_plain(self), seed, images_per_class, real.name, list(real.classes.keys), device]
        identity = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        return Match(self, surface, matcher, slots, labels.to(device), identity, held, seed)


@dataclass(eq=False)
class Match:
    """Matching made ready: its state is kept in the set's folder, from which a killed run goes on to the same bits."""

    settings: Matching
    surface: Surface
    matcher: Matcher
    slots: Sequence[Slot]
    labels: Tensor
    identity: str
    held: Split | None
    seed: int
    folder: Path | None = None
    losses: list[float] = field(default_factory=list)
    looks: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def size(self) -> int:
        """The canvas's."""
        return self.surface.size

    @property
    def parts(self) -> int:
        """Tiles along a side."""
        return round(self.surface.copies**0.5)

    @property
    def weights(self) -> Mapping[str, str]:
        """Those of canvas, objective and pruning."""
        pruned = self.settings.prune.weights if self.settings.prune else {}
        return {**pruned, **self.surface.weights, **self.matcher.weights}

    def keep_in(self, folder: Path) -> None:
        """The set's folder."""
        self.folder = folder

    def group(self, missing: Sequence[Slot]) -> Sequence[Slot]:
        """All of them: they are learned together."""
        return missing

    def make(self, slots: Sequence[Slot], on_step: OnStep) -> list[Made]:
        """Optimises the canvas and gives the slots' images."""
        self.optimise(on_step)
        rows = {slot: row for row, slot in enumerate(self.slots)}
        images = self._each(self.surface.kept).float().cpu()
        return [Made(rounded(images[rows[slot]]), {}, images[rows[slot]]) for slot in slots]

    def optimise(self, on_step: OnStep) -> None:
        """Every iteration that is not done yet."""
        learned = self._learned()
        groups = [{"params": [one.value], "lr": one.rate} for one in learned.values()]
        optimiser = torch.optim.SGD(groups, lr=1.0, momentum=self.settings.momentum)
        first, saved = self._restore(optimiser), time.monotonic()
        for iteration in range(first, self.settings.iterations):
            began = time.monotonic()
            loss, steps = math.nan, self.matcher.begin(iteration)
            for step in range(steps):
                loss = self._descend(optimiser, list(learned.values()), step)
                self.matcher.learn(self._images, self.labels, step)
            self.losses.append(loss)
            self.seconds += time.monotonic() - began
            done = iteration + 1
            self._look(done)
            if self.settings.preview and done % self.settings.preview == 0:
                self._show(done)
            if done == self.settings.iterations or time.monotonic() - saved >= SECONDS:
                self._save(done, optimiser)
                saved = time.monotonic()
            total = self.settings.iterations
            on_step(Step(stage="match", index=done, total=total, scalars={"loss": loss}))

    def _learned(self) -> dict[str, Learned]:
        own = {f"objective.{name}": one for name, one in self.matcher.learned.items()}
        return dict(self.surface.learned) | own

    def _descend(self, optimiser: torch.optim.Optimizer, learned: Sequence[Learned], step: int) -> float:
        """One step of everything that is learned; the loss before it."""
        values = [one.value for one in learned]
        chunks = self._chunks()
        if len(chunks) == 1:
            loss = self.matcher.loss(self.surface.images(chunks[0]), self.labels, step)
            slopes = list(torch.autograd.grad(loss, values, allow_unused=True))
        else:
            images = self._images().requires_grad_()
            loss = self.matcher.loss(images, self.labels, step)
            beside = [one.value for one in self.matcher.learned.values()]
            of_images, *of_beside = torch.autograd.grad(loss, [images, *beside], allow_unused=True)
            slopes = self._through(chunks, of_images, len(values) - len(beside)) + of_beside
        if not torch.isfinite(loss):
            raise PotstillError(f"matching diverged: the loss is {loss.item()}; lower the canvas's rate")
        for value, slope in zip(values, slopes, strict=True):
            value.grad = slope
        optimiser.step()
        return loss.item()

    def _through(self, chunks: Sequence[slice], of_images: Tensor, count: int) -> list[Tensor | None]:
        """The gradient of images pulled back to the canvas's tensors, chunk by chunk."""
        values = [one.value for one in self.surface.learned.values()]
        copies = self.surface.copies
        total: list[Tensor | None] = [None] * count
        for rows in chunks:
            own = of_images[rows.start * copies : rows.stop * copies]
            found = torch.autograd.grad(self.surface.images(rows), values, own, allow_unused=True)
            for place, slope in enumerate(found):
                if slope is not None:
                    before = total[place]
                    total[place] = slope if before is None else before + slope
        return total

    def _chunks(self) -> list[slice]:
        count = len(self.slots)
        size = self.settings.chunk or count
        return [slice(start, min(start + size, count)) for start in range(0, count, size)]

    @torch.no_grad()
    def _images(self) -> Tensor:
        return self._each(self.surface.images)

    def _each(self, make: Any) -> Tensor:
        return torch.cat([make(rows).detach() for rows in self._chunks()])

    def _look(self, done: int) -> None:
        watch = self.settings.watch
        if watch is None or self.held is None or done % watch.every:
            return
        accuracy = watch.accuracy(self._images(), self.labels, self.held, self.seed)
        self.looks.append({"iteration": done, "seconds": self.seconds, "accuracy": accuracy})
        if self.folder is not None:
            write_json(self.folder / LOOKS, self.looks)

    def _show(self, done: int) -> None:
        if self.folder is None:
            return
        images = rounded(self._each(self.surface.kept).cpu())
        per_class = len(images) // len({slot.key for slot in self.slots})
        lines = [torch.cat(list(line), 2) for line in images.split(per_class)]
        picture = Image.fromarray(torch.cat(lines, 1).permute(1, 2, 0).contiguous().numpy())
        file = self.folder / PREVIEWS / f"{done:06d}.png"
        write_whole(file, lambda path: picture.save(path, format="PNG"))

    def _save(self, done: int, optimiser: torch.optim.Optimizer) -> None:
        if self.folder is None:
            return
        state = {
            "identity": self.identity,
            "done": done,
            "losses": self.losses,
            "looks": self.looks,
            "seconds": self.seconds,
            "learned": {name: one.value.detach() for name, one in self._learned().items()},
            "optimiser": optimiser.state_dict(),
            "objective": dict(self.matcher.state()),
        }
        save_state(self.folder / STATE, state)

    def _restore(self, optimiser: torch.optim.Optimizer) -> int:
        """Goes on from the kept state, where there is one; how many iterations are done."""
        file = self.folder / STATE if self.folder else None
        if file is None or not file.is_file():
            return 0
        state = load_state(file, self.labels.device)
        if state["identity"] != self.identity:
            raise PotstillError(f"{file} belongs to other settings: delete it or name another folder")
        with torch.no_grad():
            for name, one in self._learned().items():
                one.value.copy_(state["learned"][name])
        optimiser.load_state_dict(state["optimiser"])
        self.matcher.restore(state["objective"])
        self.losses, self.looks, self.seconds = state["losses"], state["looks"], state["seconds"]
        return state["done"]

"""Checkpoints of one DiT, each fine-tuned for some of the classes, as one prior."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from potstill.core.errors import PotstillError, unknown
from potstill.core.files import read_json, sha256
from potstill.core.settings import from_plain
from potstill.priors.prior import Condition, Prior, Request

GROUPS = "groups.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A checkpoint's folder beside groups.json, the keys of its classes, and the hash of its transformer's folder."""

    folder: str
    classes: tuple[str, ...]
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupIndex:
    """The contents of groups.json."""

    format: int
    groups: tuple[Group, ...]


def read_groups(file: Path) -> tuple[Group, ...]:
    """The groups that a groups.json lists; raises PotstillError that names the file where it is malformed."""
    groups = from_plain(GroupIndex, read_json(file), str(file)).groups
    if not groups:
        raise PotstillError(f"{file} lists no groups")
    return groups


class Groups(Prior):
    """A folder with a groups.json: every image is drawn by the checkpoint of its class.

    A checkpoint is read when a batch first asks for one of its classes and let go with the next batch that asks for
    none, the first excepted, whose autoencoder and schedule serve all. An image does not depend on the others of its
    batch. Raises PotstillError for a class that is in no group and for a checkpoint that is not the one listed.
    """

    def __init__(self, folder: Path, *, device: str, dtype: torch.dtype) -> None:
        self.groups = read_groups(folder / GROUPS)
        self.folder, self.dtype, self.place, self.published = folder, dtype, device, False
        self.first = self._read(0)
        self.held = {0: self.first}
        super().__init__(self.first.pipe)

    @property
    def fingerprint(self) -> str:
        """The hash of groups.json, which has those of all transformers, and of the first checkpoint's networks."""
        return hashlib.sha256(f"{sha256(self.folder / GROUPS)}{super().fingerprint}".encode()).hexdigest()

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a latent."""
        return self.first.latent_shape

    def predict(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Each row's raw output by its own checkpoint."""
        return self._each(condition, lambda prior, rows, told: prior.predict(x_t[rows], t[rows], told))

    def see(self, x_t: Tensor, t: Tensor, condition: Condition) -> tuple[Tensor, Tensor | None]:
        """Each row's clean latent, and its variance where the networks learned one, by its own checkpoint."""

        def both(prior: Prior, rows: Tensor, told: Condition) -> Tensor:
            seen = prior.see(x_t[rows], t, told)
            return torch.cat([part for part in seen if part is not None], 1)

        x0, *spread = self._each(condition, both).split(x_t.shape[1], 1)
        return x0, spread[0] if spread else None

    def as_published(self) -> None:
        """Every checkpoint computes as the authors' code does."""
        self.published = True
        for prior in self.held.values():
            prior.as_published()
        self.guided_channels, self.respaced = self.first.guided_channels, self.first.respaced

    def blank(self, count: int) -> Condition:
        """That of the first group."""
        group = torch.zeros(count, dtype=torch.int64, device=self.device)
        return Condition({**self.first.blank(count).values, "group": group})

    def condition(self, requests: Sequence[Request]) -> Condition:
        """The classes' rows in the label table and their groups."""
        places = [self._group(request.key) for request in requests]
        self.held = {place: self._prior(place) for place in {0, *places}}
        pairs = zip(places, requests, strict=True)
        rows = [self.held[place].condition([request]).values["class"] for place, request in pairs]
        return Condition({"class": torch.cat(rows), "group": torch.tensor(places, device=self.device)})

    def null_condition(self, condition: Condition) -> Condition:
        """The null class of each row's own checkpoint."""
        null = self.first.null_condition(Condition({"class": condition.values["class"]}))
        return Condition({**null.values, "group": condition.values["group"]})

    def learnable(self, condition: Condition) -> Condition:
        """Never: raises PotstillError."""
        raise PotstillError(
            f"{self.folder} holds {len(self.groups)} checkpoints: name one of its folders to learn a condition"
        )

    def _each(self, condition: Condition, act: Callable[[Prior, Tensor, Condition], Tensor]) -> Tensor:
        groups = condition.values["group"]
        parts, results = [], []
        for place in groups.unique().tolist():
            rows = (groups == place).nonzero()[:, 0]
            told = Condition({"class": condition.values["class"][rows]})
            parts.append(rows)
            results.append(act(self._prior(place), rows, told))
        return torch.cat(results)[torch.cat(parts).argsort()]

    def _group(self, key: str) -> int:
        for place, group in enumerate(self.groups):
            if key in group.classes:
                return place
        known = [key for group in self.groups for key in group.classes]
        raise unknown("class", key, known[:20], str(self.folder / GROUPS))

    def _prior(self, place: int) -> Prior:
        if place not in self.held:
            self.held[place] = self._read(place)
        return self.held[place]

    def _read(self, place: int) -> Prior:
        group = self.groups[place]
        folder = self.folder / group.folder
        if sha256(folder / "transformer") != group.sha256:
            raise PotstillError(f"{folder} is not the checkpoint that {self.folder / GROUPS} lists")
        prior = Prior.from_pretrained(str(folder), device=self.place, dtype=self.dtype)
        if self.published:
            prior.as_published()
        return prior

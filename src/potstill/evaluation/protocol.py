"""What a protocol is: a name and a rule that plans how a student is trained on a set and tested."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from potstill.core.settings import replace_at, to_plain
from potstill.nets.augment import Augment
from potstill.nets.fit import Training
from potstill.nets.spec import Net


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a plan may depend on: the student, and the set by number of images and classes and by side in px.

    `mirror` says whether a horizontal flip keeps the classes.
    """

    student: Net
    images: int
    classes: int
    size: int
    mirror: bool

    @property
    def per_class(self) -> float:
        """Images per class."""
        return self.images / self.classes


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that decides how one student is trained and tested.

    `labels` is a labeller by name, `temperature` its temperature; `changes` are done to each batch in turn;
    `norm_momentum` is how far a batch moves BatchNorm's running statistics (None: the net's own); test images are
    resized to a short side of `test_side` px before the centre of the students' size is taken; `looks` are the
    numbers of epochs after which the source itself tests, to report the best.
    """

    training: Training
    changes: tuple[Augment, ...]
    labels: str
    temperature: float | None = None
    norm_momentum: float | None = None
    test_side: int
    looks: tuple[int, ...] = ()


Rule = Callable[[Setting], Plan]
"""A protocol's rule: from a setting to the plan for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """A named and versioned rule; `students` are the nets that its source reports, by short name.

    `overrides` are changes of the plan by dotted path ("training.epochs": 30), which its results tell of.
    """

    name: str
    version: int
    rule: Rule
    students: tuple[str, ...]
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name and version, with a star where settings were changed: "rded@1", "rded@1*"."""
        return f"{self.name}@{self.version}" + ("*" if self.overrides else "")

    def plan(self, setting: Setting) -> Plan:
        """The plan for a setting; raises PotstillError for an override of what there is not, or of a wrong type."""
        planned = self.rule(setting)
        for path, value in self.overrides.items():
            planned = replace_at(planned, path, json.dumps(to_plain(value)))
        return planned

    def scaled(self, overrides: Mapping[str, Any]) -> "Protocol":
        """The protocol with parts of its plan overridden, by dotted path."""
        return replace(self, overrides={**self.overrides, **overrides})

    def example(self) -> Mapping[str, Any]:
        """The plan for 10 images of each of 10 classes at 32 px, as plain values."""
        student = Net.parse(self.students[0])
        setting = Setting(student=student, images=100, classes=10, size=32, mirror=True)
        return {"protocol": self.label, "students": self.students, "example": to_plain(self.plan(setting))}

"""Which net: a small value with a short form for the command line and a readable one for tables."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from potstill.core.errors import PotstillError, unknown
from potstill.nets import NETS


@dataclass(frozen=True, slots=True, kw_only=True)
class Net:
    """The architecture of a classifier; a width of 0, an empty stem and an empty norm become the kind's usual ones.

    Raises PotstillError for a kind, depth, stem or norm there is not and for a negative width.
    """

    kind: str = "convnet"
    depth: int = 3
    width: int = 0
    stem: str = ""
    norm: str = ""

    def __post_init__(self) -> None:
        family = NETS[self.kind]
        object.__setattr__(self, "width", self.width or family.usual_width)
        object.__setattr__(self, "stem", self.stem or family.stems[0])
        object.__setattr__(self, "norm", self.norm or family.norms[0])
        if self.depth not in family.depths:
            raise unknown(f"{self.kind} depth", self.depth, family.depths)
        if self.stem not in family.stems:
            raise unknown(f"{self.kind} stem", self.stem, [stem for stem in family.stems if stem])
        if self.norm not in family.norms:
            raise unknown(f"{self.kind} norm", self.norm, family.norms)
        if self.width < 1:
            raise PotstillError(f"the width of a net must be at least 1, not {self.width}")

    @classmethod
    def parse(cls, text: str) -> "Net":
        """Reads the short form: "convnet-3", "convnet-3-instance-w32", "resnet-18-small", "vit"."""
        kind, *options = text.split("-")
        family = NETS[kind]
        depth = family.usual_depth
        if options and options[0].isdecimal():
            depth = int(options.pop(0))
        if depth is None:
            raise unknown(f"{kind} depth", "-".join(options[:1]), family.depths, f"net {text!r}")
        width, stem, norm = 0, "", ""
        for option in options:
            if option.startswith("w") and option[1:].isdecimal() and not width and int(option[1:]):
                width = int(option[1:])
            elif option in family.stems and option and not stem:
                stem = option
            elif option in family.norms and not norm:
                norm = option
            else:
                allowed = [*filter(None, family.stems), *family.norms, f"w{family.usual_width}"]
                raise unknown("option", option, allowed, f"net {text!r}")
        return cls(kind=kind, depth=depth, width=width, stem=stem, norm=norm)

    @property
    def short(self) -> str:
        """The form that `parse` reads, with what is usual left out."""
        family = NETS[self.kind]
        depth = "" if self.depth == family.usual_depth else f"-{self.depth}"
        stem = "" if self.stem == family.stems[0] else f"-{self.stem}"
        norm = "" if self.norm == family.norms[0] else f"-{self.norm}"
        width = "" if self.width == family.usual_width else f"-w{self.width}"
        return f"{self.kind}{depth}{stem}{norm}{width}"

    @property
    def label(self) -> str:
        """The form for people, for example "ConvNet-3, width 128" or "ConvNet-3, instance norm, width 128"."""
        family = NETS[self.kind]
        depth = "" if self.depth == family.usual_depth else f"-{self.depth}"
        stem = "" if self.stem == family.stems[0] else f", {self.stem} stem"
        norm = "" if self.norm == family.norms[0] else f", {self.norm} norm".replace("none", "no")
        return f"{family.title}{depth}{stem}{norm}, width {self.width}"


def build(spec: Net, classes: int, size: int, generator: torch.Generator) -> nn.Module:
    """A net with start values drawn from `generator` alone, on the CPU.

    It takes RGB images [n, 3, size, size] in [0, 1] and gives logits [n, classes].
    """
    module: Any = hollow(spec, classes, size)
    module.initialise(generator)
    return module


def hollow(spec: Net, classes: int, size: int) -> nn.Module:
    """A net whose parameters and buffers hold no values yet, for a file or `initialise` to fill in."""
    with torch.device("meta"):
        module = NETS[spec.kind](
            depth=spec.depth, width=spec.width, stem=spec.stem, norm=spec.norm, classes=classes, size=size
        )
    return module.to_empty(device="cpu")

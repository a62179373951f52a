"""Real images in the feature space of a frozen model: a CLIP's embeddings, or what a net's last layer sees."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from potstill.bundled import resolve
from potstill.core.blocks import in_blocks
from potstill.core.errors import PotstillError
from potstill.core.files import read_json
from potstill.core.fingerprint import fingerprint
from potstill.core.progress import OnStep, Step, silent
from potstill.data.real import Split
from potstill.encoders import Encoder
from potstill.nets.store import load_net

AT_ONCE = 64
"""Images read and embedded at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """A frozen model by name: `embed` takes RGB [n, 3, h, w] in [0, 1] on `device` and gives [n, d].

    `side` is the size it sees, in px: a CLIP resizes what it is given, a net raises PotstillError for another size.
    """

    name: str
    fingerprint: str
    side: int
    device: str
    embed: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def images(self, images: Tensor) -> Tensor:
        """Features of images, uint8 [n, 3, h, w], as float64 [n, d] on the CPU; raises PotstillError, see `embed`."""
        parts = [in_blocks(self.embed, part.to(self.device).float() / 255) for part in images.split(AT_ONCE)]
        return torch.cat(parts).cpu().double()

    def of(self, split: Split, rows: Sequence[int], on_step: OnStep = silent) -> Tensor:
        """Features of some images, float64 [n, d] on the CPU.

        No image's depend on its companions: on a CPU to rounding, and bitwise with one thread.
        """
        found = []
        for start in range(0, len(rows), AT_ONCE):
            part = rows[start : start + AT_ONCE]
            found.append(self.images(split.pixels(part, self.side)))
            on_step(Step(stage="features", index=start + len(part), total=len(rows)))
        return torch.cat(found)


def load_features(name: str, device: str) -> Features:
    """Opens a CLIP (a shipped name, folder or hub id: unit embeddings) or a net (a shipped name or folder).

    Which of the two a folder holds is told by its config.json. Raises PotstillError for a name that is
    neither and for a folder that cannot be read.
    """
    place = resolve(name)
    if not _holds_net(name, place):
        encoder = Encoder.from_pretrained(name, device=device)
        side = encoder.preprocess.short_side
        return Features(
            name=name, fingerprint=encoder.fingerprint, side=side, device=device, embed=encoder.images
        )
    stored = load_net(Path(place)).to(device)
    module: Any = stored.module

    def embed(pixels: Tensor) -> Tensor:
        if pixels.shape[-1] != stored.size:
            raise PotstillError(f"{name} sees images of {stored.size} px, these have {pixels.shape[-1]} px")
        return module.embed(pixels)

    return Features(
        name=name, fingerprint=fingerprint([module]), side=stored.size, device=device, embed=embed
    )


def _holds_net(name: str, place: str) -> bool:
    folder = Path(place)
    if not folder.is_dir():
        return False
    file = folder / "config.json"
    if not file.is_file():
        raise PotstillError(
            f"features {name!r}: {folder} holds neither a CLIP nor a net, as {file} is missing"
        )
    return read_json(file).get("model_type") != "clip"

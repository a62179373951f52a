"""How a prior's networks are run, to save time or memory; what they compute moves by rounding, tiles excepted."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from potstill.core.errors import PotstillError
from potstill.priors.groups import Groups
from potstill.priors.prior import Prior


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """Three savings, each off by default.

    `compile` has torch compile the denoiser, but not the decoder: torch 2.13 then gives gradients of 0 through it,
    without a word (on a CPU). `offload` keeps weights in main memory and brings each layer's to the device for as long
    as it computes. `tile` is the side in pixels of the squares that larger images are decoded in, with seams blended: a
    decoder that normalises over the whole image sees less of it, so colours shift a little. Raises PotstillError for
    both of the first two, and for a tile below 8.
    """

    compile: bool = False
    offload: bool = False
    tile: int | None = None

    def __post_init__(self) -> None:
        if self.compile and self.offload:
            raise PotstillError("compile and offload exclude each other: compiled layers can't fetch weights")
        if self.tile is not None and self.tile < 8:
            raise PotstillError(f"tile must be at least 8 px, not {self.tile}")

    def arrange(self, prior: Prior) -> None:
        """Has a prior run so; raises PotstillError for one that can't be tiled or consists of several."""
        if self == Execution():
            return
        if isinstance(prior, Groups):
            raise PotstillError(
                "several checkpoints are drawn from as they are, without compile, offload or tile"
            )
        if self.tile is not None:
            _tile(prior.vae, self.tile)
        if self.compile:
            prior.network.compile()
        if self.offload:
            _offload(prior)


def _tile(vae: Any, side: int) -> None:
    if not hasattr(vae, "enable_tiling"):
        raise PotstillError(f"a {type(vae).__name__} can't decode in tiles: leave tile out")
    vae.enable_tiling()
    vae.tile_sample_min_size = side
    vae.tile_latent_min_size = max(side // 2 ** (len(vae.config.block_out_channels) - 1), 1)


def _offload(prior: Prior) -> None:
    from accelerate import cpu_offload

    prior.offloaded = prior.device, prior.fingerprint
    device = prior.device
    for part in prior.pipe.components.values():
        if isinstance(part, nn.Module) and any(True for _ in part.parameters()):
            cpu_offload(part.cpu(), device)

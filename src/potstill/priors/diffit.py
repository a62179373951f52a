"""The few parameters of a DiT that a fine-tuning moves, and the way back into a plain DiT."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from potstill.core.errors import PotstillError


class Scaled(nn.Module):
    """A linear layer whose outputs are multiplied, channel by channel, by `count` learned vectors that start at 1."""

    def __init__(self, linear: nn.Linear, count: int) -> None:
        super().__init__()
        self.linear = linear
        self.gamma = nn.Parameter(linear.weight.new_ones(count, linear.out_features))

    def forward(self, x: Tensor) -> Tensor:
        """The scaled outputs."""
        return self.linear(x) * self.gamma.prod(0)

    @torch.no_grad()
    def folded(self) -> nn.Linear:
        """The plain layer that does the same: its rows multiplied by the scales."""
        scale = self.gamma.prod(0)
        self.linear.weight.mul_(scale[:, None])
        if self.linear.bias is not None:
            self.linear.bias.mul_(scale)
        return self.linear


def prepare(transformer: Any) -> dict[str, nn.Parameter]:
    """Gives a diffusers `DiTTransformer2DModel` its scales, freezes the rest; returns what trains, by name.

    Source: Minimax (Gu et al. 2024, arXiv:2311.15529), after DiffFit (Xie et al. 2023, arXiv:2304.06648). Trained are
    all biases, the label table, and in the first half of the blocks scales of the query, key and value, of the
    attention's projection (two: its own and the block's) and of the MLP's output: 1,739,552 of DiT-XL/2. The block's
    scales stand before the gate, which commutes. The blocks share one embedder, as in DiT's own code, so that the
    table is one; see `require_one_embedder`.
    """
    blocks = transformer.transformer_blocks
    for block in blocks[1:]:
        block.norm1.emb = blocks[0].norm1.emb
    for block in blocks[: len(blocks) // 2]:
        for name in ("to_q", "to_k", "to_v"):
            setattr(block.attn1, name, Scaled(getattr(block.attn1, name), 1))
        block.attn1.to_out[0] = Scaled(block.attn1.to_out[0], 2)
        block.ff.net[2] = Scaled(block.ff.net[2], 1)
    trained = {}
    for name, parameter in transformer.named_parameters():
        moved = name.endswith(("bias", "gamma", "embedding_table.weight"))
        parameter.requires_grad_(moved)
        if moved:
            trained[name] = parameter
    return trained


def require_one_embedder(transformer: Any) -> None:
    """Raises PotstillError where the blocks' embedders of time and class differ: they could not be shared."""
    first, *others = (block.norm1.emb.state_dict() for block in transformer.transformer_blocks)
    for place, other in enumerate(others, start=1):
        if not all(torch.equal(value, other[name]) for name, value in first.items()):
            raise PotstillError(
                f"the embedders of blocks 0 and {place} differ: this DiT was trained without sharing them, and "
                "can't be fine-tuned here"
            )


def fold(transformer: Any) -> None:
    """Undoes `prepare`, keeping what was learned: plain layers, an embedder in each block, no parameter that trains."""
    for block in transformer.transformer_blocks:
        for layers, name in [(block.attn1, "to_q"), (block.attn1, "to_k"), (block.attn1, "to_v")]:
            _unscale(layers, name)
        _unscale(block.attn1.to_out, "0")
        _unscale(block.ff.net, "2")
        block.norm1.emb = copy.deepcopy(block.norm1.emb)
    transformer.requires_grad_(False)


def _unscale(layers: nn.Module, name: str) -> None:
    layer = getattr(layers, name)
    if isinstance(layer, Scaled):
        setattr(layers, name, layer.folded())

"""DiT as its authors compute it, against a slow twin written from the architecture, in float64."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.data.real import RealData
from potstill.guidance import Moment, guided
from potstill.guidance.free import ClassifierFree
from potstill.methods.guided import Guided
from potstill.priors import Condition, Prior
from potstill.sampling import sample


def modulate(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return functional.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale[:, None]) + shift[:, None]


def slow(network, x: torch.Tensor, t: int, rows: torch.Tensor) -> torch.Tensor:
    """Peebles and Xie 2023, section 3: adaLN-Zero blocks on patches; embedding [cos, sin] of t 10000^(-i/128)."""
    weights = {name: value.double() for name, value in network.state_dict().items()}

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    config, first = network.config, "transformer_blocks.0.norm1.emb"
    freq = torch.tensor([10000 ** (-i / 128) for i in range(128)], dtype=torch.float64)
    wave = torch.cat([(t * freq).cos(), (t * freq).sin()])[None]
    time = linear(
        f"{first}.timestep_embedder.linear_2",
        functional.silu(linear(f"{first}.timestep_embedder.linear_1", wave)),
    )
    side, patch = config.sample_size // config.patch_size, config.patch_size
    tokens = functional.conv2d(
        x.double(), weights["pos_embed.proj.weight"], weights["pos_embed.proj.bias"], stride=patch
    )
    tokens = tokens.flatten(2).transpose(1, 2) + network.pos_embed.pos_embed.double()
    n, count, width = tokens.shape
    heads = config.num_attention_heads
    for place in range(config.num_layers):
        name = f"transformer_blocks.{place}"
        own = functional.silu(time + weights[f"{name}.norm1.emb.class_embedder.embedding_table.weight"][rows])
        if place:
            inner = functional.silu(linear(f"{name}.norm1.emb.timestep_embedder.linear_1", wave))
            beside = linear(f"{name}.norm1.emb.timestep_embedder.linear_2", inner)
            table = weights[f"{name}.norm1.emb.class_embedder.embedding_table.weight"]
            own = functional.silu(beside + table[rows])
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = linear(f"{name}.norm1.linear", own).chunk(6, 1)
        seen = modulate(tokens, shift, scale)
        q, k, v = (
            linear(f"{name}.attn1.to_{part}", seen).view(n, count, heads, -1).transpose(1, 2)
            for part in "qkv"
        )
        mixed = ((q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])).softmax(-1) @ v
        tokens = tokens + gate[:, None] * linear(f"{name}.attn1.to_out.0", mixed.transpose(1, 2).flatten(2))
        inner = linear(f"{name}.ff.net.0.proj", modulate(tokens, shift_mlp, scale_mlp))
        cubic = math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)
        tokens = tokens + gate_mlp[:, None] * linear(f"{name}.ff.net.2", inner / 2 * (1 + cubic.tanh()))
    told = time + weights[f"{first}.class_embedder.embedding_table.weight"][rows]
    shift, scale = linear("proj_out_1", functional.silu(told)).chunk(2, 1)
    out = linear("proj_out_2", modulate(tokens, shift, scale))
    grid = out.view(n, side, side, patch, patch, config.out_channels)
    return torch.einsum("nhwpqc->nchpwq", grid).reshape(n, config.out_channels, side * patch, side * patch)


@pytest.mark.parametrize("t", [20, 500, 979])
def test_the_network_is_the_architecture_in_float64(tiny_dit: str, t: int) -> None:
    prior = Prior.from_pretrained(tiny_dit)
    x, rows = torch.randn(2, *prior.latent_shape, generator=generator("x")), torch.tensor([3, 7])
    asked = (x, torch.tensor([t, t]), Condition({"class": rows}))
    with torch.no_grad():
        changed = prior.predict(*asked)
        prior.as_published()
        raw = prior.predict(*asked)
    wanted = slow(prior.network, x, t, rows)
    torch.testing.assert_close(raw.double(), wanted, rtol=1e-4, atol=1e-4)
    assert (changed - wanted).abs().max() > 10 * (raw - wanted).abs().max(), "diffusers' embedding is another"


def test_guidance_leaves_the_fourth_channel_to_the_condition(tiny_dit: str) -> None:
    prior = Prior.from_pretrained(tiny_dit)
    prior.as_published()
    told = Condition({"class": torch.tensor([3, 7])})
    x_t, t = torch.randn(2, 4, 8, 8, generator=generator("x")), torch.tensor(500)
    denoise = guided(prior, told, [ClassifierFree(4.0)])
    with torch.no_grad():
        made = denoise(x_t, Moment(0, 1, t, prior.alpha_bar(t)))
        clean, empty = (prior.denoise(x_t, t, one) for one in (told, prior.null_condition(told)))
    torch.testing.assert_close(made[:, 3], clean[:, 3])
    torch.testing.assert_close(made[:, :3], (empty + 4 * (clean - empty))[:, :3])


def test_ddim_takes_the_timesteps_of_the_original_code(tiny_dit: str) -> None:
    """Every step against Eq. 12 of DDIM (Song et al. 2021) in float64, from each timestep to the next of the grid."""
    prior, told = Prior.from_pretrained(tiny_dit), Condition({"class": torch.tensor([1, 2])})
    assert int(prior.schedule(50).timesteps[0]) == 980
    prior.as_published()
    grid = [int(t) for t in prior.schedule(50).timesteps]
    assert grid[:3] == [999, 979, 958] and grid[-5:] == [82, 61, 41, 20, 0] and len(grid) == 50
    bars = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)
    noise = torch.randn(2, *prior.latent_shape, generator=generator("noise"))
    places = torch.linspace(0, 999, 6).round().long().flip(0).tolist()
    x = noise.double()
    for t, later in zip(places, [*places[1:], None], strict=True):
        x0 = prior.denoise(x.float(), torch.tensor(t), told).double()
        eps = (x - bars[t].sqrt() * x0) / (1 - bars[t]).sqrt()
        kept = bars[later] if later is not None else torch.ones((), dtype=torch.float64)
        x = kept.sqrt() * x0 + (1 - kept).sqrt() * eps
    made = sample(prior, guided(prior, told, []), noise, steps=6)
    torch.testing.assert_close(made.double(), x, rtol=1e-3, atol=1e-4)


def test_only_dit_has_an_original(tiny_unclip: str, few: RealData) -> None:
    method = Guided(prior=tiny_unclip, original=True)
    with pytest.raises(PotstillError, match="UnCLIP is computed as diffusers does"):
        method.prepare(few, seed=0, images_per_class=1, device="cpu")
    assert replace(method, original=False).original is False

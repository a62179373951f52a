"""The original checkpoint of a class-conditional latent diffusion model, turned into a folder that diffusers loads."""

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from potstill.core.errors import PotstillError
from potstill.priors.ldm import ClassLDMPipeline, Layout

PARTS = {"unet": "model.diffusion_model", "vae": "first_stage_model", "embedder": "cond_stage_model"}
"""Our components and the original names of theirs."""

COPIES = "model_ema."
SCHEDULE = frozenset(
    (
        "betas",
        "alphas_cumprod",
        "alphas_cumprod_prev",
        "sqrt_alphas_cumprod",
        "sqrt_one_minus_alphas_cumprod",
        "log_one_minus_alphas_cumprod",
        "sqrt_recip_alphas_cumprod",
        "sqrt_recipm1_alphas_cumprod",
        "posterior_variance",
        "posterior_log_variance_clipped",
        "posterior_mean_coef1",
        "posterior_mean_coef2",
    )
)
"""Values of a checkpoint that are left out: they follow from the noise schedule, as moving averages do not matter."""

UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
STAGE_RESNET = {
    "norm1": "norm1",
    "conv1": "conv1",
    "norm2": "norm2",
    "conv2": "conv2",
    "conv_shortcut": "nin_shortcut",
}
STAGE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}

Pairs = Iterator[tuple[str, str]]
"""Names of the same module: ours and the original."""

_SHOWN = 8


def convert(checkpoint: Path, out: Path, layout: Layout | None = None) -> None:
    """Writes the model of an original checkpoint as a folder that `Prior.from_pretrained` opens.

    The checkpoint is a torch file with a `state_dict`, read as tensors only. Without `layout` it is cin256-v2's. The
    weights are kept as float32, those of training: moving averages beside them are left out, as in LD3M.
    Raises PotstillError for a file that can't be read, one whose names or shapes are not the layout's, and a folder
    that has a model already or can't be written to.
    """
    if (out / ClassLDMPipeline.config_name).exists():
        raise PotstillError(f"{out} has a model already; name another folder")
    with torch.device("meta"):
        pipe = (layout or Layout()).build()
    values = _fitted(_read(checkpoint), pipe, checkpoint)
    for part in PARTS:
        getattr(pipe, part).load_state_dict(values[part], assign=True)
    try:
        pipe.save_pretrained(out)
    except OSError as error:
        raise PotstillError(f"cannot write {out}: {error.strerror or error}") from error


def original_names(pipe: ClassLDMPipeline) -> dict[str, tuple[str, str]]:
    """Every name in an original checkpoint: the part of ours that it belongs to and the name in there."""
    modules = {
        "unet": dict(_unet(pipe.unet)),
        "vae": dict(_first_stage(pipe.vae)),
        "embedder": {"embedding": "embedding"},
    }
    names = {}
    for part, theirs in PARTS.items():
        for ours in getattr(pipe, part).state_dict():
            module = next(module for module in modules[part] if ours.startswith(f"{module}."))
            names[f"{theirs}.{modules[part][module]}{ours.removeprefix(module)}"] = (part, ours)
    return names


def _read(checkpoint: Path) -> Mapping[str, Tensor]:
    """The checkpoint's values without those that are left out."""
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise PotstillError(
            f"{checkpoint} is no torch file, or holds other things than tensors; where you trust its source, save "
            "its 'state_dict' alone"
        ) from error
    except (OSError, RuntimeError, EOFError) as error:
        raise PotstillError(f"cannot read {checkpoint}: {error}") from error
    state = content.get("state_dict") if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping):
        raise PotstillError(f"{checkpoint} is no latent diffusion checkpoint: it has no 'state_dict'")
    return {
        name: value for name, value in state.items() if name not in SCHEDULE and not name.startswith(COPIES)
    }


def _fitted(
    state: Mapping[str, Tensor], pipe: ClassLDMPipeline, checkpoint: Path
) -> dict[str, dict[str, Tensor]]:
    """The values by part under our names; refuses others than the parts have."""
    names = original_names(pipe)
    missing, unexpected = sorted(names.keys() - state.keys()), sorted(state.keys() - names.keys())
    if missing or unexpected:
        raise PotstillError(
            f"{checkpoint} does not hold the expected model. Missing: {_listed(missing)}. "
            f"Unexpected: {_listed(unexpected)}"
        )
    shapes = {part: getattr(pipe, part).state_dict() for part in PARTS}
    fitted: dict[str, dict[str, Tensor]] = {part: {} for part in PARTS}
    for theirs, (part, ours) in names.items():
        value, shape = state[theirs].float(), shapes[part][ours].shape
        if value.shape == (*shape, 1, 1):  # the autoencoder's attention is of 1 x 1 convolutions there
            value = value.reshape(shape)
        if value.shape != shape:
            raise PotstillError(f"{theirs} in {checkpoint} has shape {list(value.shape)}, not {list(shape)}")
        fitted[part][ours] = value.contiguous()
    return fitted


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "none") + more


def _unet(unet: Any) -> Pairs:
    """The UNet, whose original is two flat lists: each resnet, with what follows it, has a place in one of them."""
    yield from {
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "conv_in": "input_blocks.0.0",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
    }.items()
    place = 1
    for level, block in enumerate(unet.down_blocks):
        for layer in range(len(block.resnets)):
            yield from _unet_layer(block, f"down_blocks.{level}", layer, f"input_blocks.{place}")
            place += 1
        if block.downsamplers:
            yield f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{place}.0.op"
            place += 1
    yield from _inside("mid_block.resnets.0", "middle_block.0", UNET_RESNET)
    yield "mid_block.attentions.0", "middle_block.1"
    yield from _inside("mid_block.resnets.1", "middle_block.2", UNET_RESNET)
    place = 0
    for level, block in enumerate(unet.up_blocks):
        for layer in range(len(block.resnets)):
            yield from _unet_layer(block, f"up_blocks.{level}", layer, f"output_blocks.{place}")
            place += 1
        if block.upsamplers:
            after = 2 if hasattr(block, "attentions") else 1
            yield f"up_blocks.{level}.upsamplers.0.conv", f"output_blocks.{place - 1}.{after}.conv"


def _unet_layer(block: Any, ours: str, layer: int, theirs: str) -> Pairs:
    """A resnet and the transformer behind it, whose inner names are the same in both."""
    yield from _inside(f"{ours}.resnets.{layer}", f"{theirs}.0", UNET_RESNET)
    if hasattr(block, "attentions"):
        yield f"{ours}.attentions.{layer}", f"{theirs}.1"


def _first_stage(vae: Any) -> Pairs:
    """The autoencoder; the original counts the decoder's levels from the finest."""
    for name in ("quantize", "quant_conv", "post_quant_conv"):
        yield name, name
    for half in ("encoder", "decoder"):
        for ours, theirs in {
            "conv_in": "conv_in",
            "conv_norm_out": "norm_out",
            "conv_out": "conv_out",
        }.items():
            yield f"{half}.{ours}", f"{half}.{theirs}"
        for index in range(2):
            ours, theirs = f"{half}.mid_block.resnets.{index}", f"{half}.mid.block_{index + 1}"
            yield from _inside(ours, theirs, STAGE_RESNET)
        yield from _inside(f"{half}.mid_block.attentions.0", f"{half}.mid.attn_1", STAGE_ATTENTION)
    for level, block in enumerate(vae.encoder.down_blocks):
        ours, theirs = f"encoder.down_blocks.{level}", f"encoder.down.{level}"
        yield from _stage_level(len(block.resnets), ours, theirs)
        yield f"{ours}.downsamplers.0.conv", f"{theirs}.downsample.conv"
    for level, block in enumerate(reversed(vae.decoder.up_blocks)):
        ours = f"decoder.up_blocks.{len(vae.decoder.up_blocks) - 1 - level}"
        yield from _stage_level(len(block.resnets), ours, f"decoder.up.{level}")
        yield f"{ours}.upsamplers.0.conv", f"decoder.up.{level}.upsample.conv"


def _stage_level(layers: int, ours: str, theirs: str) -> Pairs:
    for layer in range(layers):
        yield from _inside(f"{ours}.resnets.{layer}", f"{theirs}.block.{layer}", STAGE_RESNET)


def _inside(ours: str, theirs: str, children: Mapping[str, str]) -> Pairs:
    """The modules inside of two that are the same, by the names of their children."""
    for child, original in children.items():
        yield f"{ours}.{child}", f"{theirs}.{original}"

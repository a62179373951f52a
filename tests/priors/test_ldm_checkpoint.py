"""The converter against a twin of the original model: its names and its own forward pass, written out here."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import Conv2d, GroupNorm, LayerNorm, Linear, ModuleList, Sequential, SiLU
from torch.nn.functional import gelu, interpolate, pad, silu

from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.data.classes import imagenet
from potstill.priors.ldm import LDM, ClassLDMPipeline, Layout
from potstill.priors.ldm_checkpoint import convert, original_names

TINY = Layout(
    classes=("cat", "dog"), context=16, size=8, widths=(32, 64, 96), stage_widths=(32, 64, 96), codes=24
)
NOISE = ("betas", "alphas_cumprod", "sqrt_recipm1_alphas_cumprod", "posterior_mean_coef2")


def attend(query, key, value):
    """One head, on [n, places, width]."""
    weights = (query @ key.transpose(1, 2) / math.sqrt(query.shape[2])).softmax(2)
    return weights @ value


def sines(t, width):
    angles = t[:, None] * torch.exp(-math.log(10_000) * torch.arange(width // 2).double() / (width // 2))
    return torch.cat([angles.cos(), angles.sin()], 1)


class Resnet(nn.Module):
    def __init__(self, width, out, moment):
        super().__init__()
        self.in_layers = Sequential(GroupNorm(32, width), SiLU(), Conv2d(width, out, 3, padding=1))
        self.emb_layers = Sequential(SiLU(), Linear(moment, out))
        self.out_layers = Sequential(
            GroupNorm(32, out), SiLU(), nn.Identity(), Conv2d(out, out, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if width == out else Conv2d(width, out, 1)

    def forward(self, x, moment, context):
        inner = self.in_layers(x) + self.emb_layers(moment)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(inner)


class Attention(nn.Module):
    def __init__(self, width, context):
        super().__init__()
        self.to_q = Linear(width, width, bias=False)
        self.to_k, self.to_v = (Linear(context, width, bias=False) for _ in range(2))
        self.to_out = Sequential(Linear(width, width))

    def forward(self, x, context):
        return self.to_out(attend(self.to_q(x), self.to_k(context), self.to_v(context)))


class Gated(nn.Module):
    def __init__(self, width, out):
        super().__init__()
        self.proj = Linear(width, 2 * out)

    def forward(self, x):
        value, gate = self.proj(x).chunk(2, 2)
        return value * gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.net = Sequential(Gated(width, 4 * width), nn.Identity(), Linear(4 * width, width))


class Block(nn.Module):
    def __init__(self, width, context):
        super().__init__()
        self.attn1, self.attn2 = Attention(width, width), Attention(width, context)
        self.ff = FeedForward(width)
        self.norm1, self.norm2, self.norm3 = (LayerNorm(width) for _ in range(3))

    def forward(self, x, context):
        x = x + self.attn1(self.norm1(x), self.norm1(x))
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff.net(self.norm3(x))


class Transformer(nn.Module):
    def __init__(self, width, context):
        super().__init__()
        self.norm = GroupNorm(32, width, eps=1e-6)
        self.proj_in, self.proj_out = (Conv2d(width, width, 1) for _ in range(2))
        self.transformer_blocks = ModuleList([Block(width, context)])

    def forward(self, x, moment, context):
        rows = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)
        mixed = self.transformer_blocks[0](rows, context).transpose(1, 2).reshape(x.shape)
        return x + self.proj_out(mixed)


class Down(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.op = Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x, moment, context):
        return self.op(x)


class Up(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = Conv2d(width, width, 3, padding=1)

    def forward(self, x, moment, context):
        return self.conv(interpolate(x, scale_factor=2))


class Unet(nn.Module):
    def __init__(self, widths, context, channels):
        super().__init__()
        moment, levels = 4 * widths[0], len(widths)
        self.time_embed = Sequential(Linear(widths[0], moment), SiLU(), Linear(moment, moment))
        self.input_blocks = ModuleList([ModuleList([Conv2d(channels, widths[0], 3, padding=1)])])
        kept, width = [widths[0]], widths[0]
        for level, out in enumerate(widths):
            for _ in range(2):
                self.input_blocks.append(self.layers(width, out, moment, context, level > 0))
                width = out
                kept.append(width)
            if level < levels - 1:
                self.input_blocks.append(ModuleList([Down(width)]))
                kept.append(width)
        self.middle_block = ModuleList(
            [Resnet(width, width, moment), Transformer(width, context), Resnet(width, width, moment)]
        )
        self.output_blocks = ModuleList()
        for level, out in reversed(list(enumerate(widths))):
            for layer in range(3):
                made = self.layers(width + kept.pop(), out, moment, context, level > 0)
                width = out
                self.output_blocks.append(made.append(Up(width)) if level and layer == 2 else made)
        self.out = Sequential(GroupNorm(32, width), SiLU(), Conv2d(width, channels, 3, padding=1))

    def layers(self, width, out, moment, context, attends):
        return ModuleList([Resnet(width, out, moment), *[Transformer(out, context)] * attends])

    def forward(self, x, t, context):
        moment = self.time_embed(sines(t, self.time_embed[0].in_features))
        kept = []
        for place, block in enumerate(self.input_blocks):
            for part in block:
                x = part(x, moment, context) if place else part(x)
            kept.append(x)
        for part in self.middle_block:
            x = part(x, moment, context)
        for block in self.output_blocks:
            x = torch.cat([x, kept.pop()], 1)
            for part in block:
                x = part(x, moment, context)
        return self.out(x)


class StageResnet(nn.Module):
    def __init__(self, width, out):
        super().__init__()
        self.norm1, self.conv1 = GroupNorm(32, width, eps=1e-6), Conv2d(width, out, 3, padding=1)
        self.norm2, self.conv2 = GroupNorm(32, out, eps=1e-6), Conv2d(out, out, 3, padding=1)
        if width != out:
            self.nin_shortcut = Conv2d(width, out, 1)

    def forward(self, x):
        inner = self.conv2(silu(self.norm2(self.conv1(silu(self.norm1(x))))))
        return inner + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class StageAttention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = GroupNorm(32, width, eps=1e-6)
        self.q, self.k, self.v, self.proj_out = (Conv2d(width, width, 1) for _ in range(4))

    def forward(self, x):
        normed = self.norm(x)
        told = [part(normed).flatten(2).transpose(1, 2) for part in (self.q, self.k, self.v)]
        return x + self.proj_out(attend(*told).transpose(1, 2).reshape(x.shape))


class Holder(nn.Module):
    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


def middle(width):
    return Holder(
        block_1=StageResnet(width, width), attn_1=StageAttention(width), block_2=StageResnet(width, width)
    )


class Half(nn.Module):
    """What encoder and decoder share."""

    def ends(self, first, widest, width, last):
        self.conv_in, self.mid = Conv2d(first, widest, 3, padding=1), middle(width)
        self.norm_out, self.conv_out = GroupNorm(32, last[0], eps=1e-6), Conv2d(*last, 3, padding=1)

    def through_middle(self, x):
        return self.mid.block_2(self.mid.attn_1(self.mid.block_1(x)))

    def finished(self, x):
        return self.conv_out(silu(self.norm_out(x)))


class Encoder(Half):
    def __init__(self, widths, channels):
        super().__init__()
        self.ends(3, widths[0], widths[-1], (widths[-1], channels))
        self.down, width = ModuleList(), widths[0]
        for out in widths:
            level = Holder(block=ModuleList([StageResnet(width, out), StageResnet(out, out)]))
            if len(self.down) < len(widths) - 1:
                level.downsample = Holder(conv=Conv2d(out, out, 3, stride=2))
            self.down.append(level)
            width = out

    def forward(self, x):
        x = self.conv_in(x)
        for level in self.down:
            for block in level.block:
                x = block(x)
            if hasattr(level, "downsample"):
                x = level.downsample.conv(pad(x, (0, 1, 0, 1)))
        return self.finished(self.through_middle(x))


class Decoder(Half):
    def __init__(self, widths, channels):
        super().__init__()
        self.ends(channels, widths[-1], widths[-1], (widths[0], 3))
        levels, width = [], widths[-1]
        for place, out in reversed(list(enumerate(widths))):
            blocks = [StageResnet(width, out), StageResnet(out, out), StageResnet(out, out)]
            level = Holder(block=ModuleList(blocks))
            if place:
                level.upsample = Holder(conv=Conv2d(out, out, 3, padding=1))
            levels.insert(0, level)
            width = out
        self.up = ModuleList(levels)

    def forward(self, x):
        x = self.through_middle(self.conv_in(x))
        for level in reversed(self.up):
            for block in level.block:
                x = block(x)
            if hasattr(level, "upsample"):
                x = level.upsample.conv(interpolate(x, scale_factor=2))
        return self.finished(x)


class Original(nn.Module):
    """The whole model by its original names."""

    def __init__(self, layout):
        super().__init__()
        channels, stages = layout.channels, layout.stage_widths
        self.model = Holder(diffusion_model=Unet(layout.widths, layout.context, channels))
        self.first_stage_model = Holder(
            encoder=Encoder(stages, channels),
            decoder=Decoder(stages, channels),
            quantize=Holder(embedding=nn.Embedding(layout.codes, channels)),
            quant_conv=Conv2d(channels, channels, 1),
            post_quant_conv=Conv2d(channels, channels, 1),
        )
        self.cond_stage_model = Holder(embedding=nn.Embedding(len(layout.classes) + 1, layout.context))


@pytest.fixture(scope="module")
def original():
    """Random weights, in norms and biases too."""
    draw, model = generator("original"), Original(TINY)
    for name, value in model.named_parameters():
        grains = torch.randn(value.shape, generator=draw)
        centre, spread = (1, 0.3) if value.ndim == 1 and name.endswith("weight") else (0, 0.1)
        value.data = centre + grains * (1 if "embedding" in name else spread)
    return model.requires_grad_(False)


def save(path, state):
    torch.save({"state_dict": state, "epoch": 7, "global_step": 11}, path)
    return path


@pytest.fixture(scope="module")
def checkpoint(original, tmp_path_factory):
    copies = {"model_ema.decay": torch.tensor(0.9999), "model_ema.diffusion_modelout0weight": torch.ones(32)}
    schedule = {name: torch.ones(1000) for name in NOISE}
    return save(tmp_path_factory.mktemp("ckpt") / "model.ckpt", original.state_dict() | copies | schedule)


@pytest.fixture(scope="module")
def converted(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "ldm"
    convert(checkpoint, folder, TINY)
    return ClassLDMPipeline.from_pretrained(folder)


def close(found, expected):
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_every_part_computes_what_the_original_computes(original, converted):
    original, prior = copy.deepcopy(original).double(), LDM(copy.deepcopy(converted))
    prior.unet.double(), prior.vae.double()
    draw = generator("inputs")
    x, told = torch.randn(2, 3, 8, 8, generator=draw).double(), torch.randn(2, 1, 16, generator=draw).double()
    t = torch.tensor([901, 1])
    theirs, stage = original.model.diffusion_model, original.first_stage_model
    with torch.no_grad():
        unet, vae = prior.unet, prior.vae
        torch.testing.assert_close(unet.time_proj(t).double(), sines(t, 32), rtol=0, atol=1e-4)
        unet.time_proj.forward = lambda moments: sines(moments, 32)  # diffusers' own are float32 in any net
        close(unet(x, t, encoder_hidden_states=told).sample, theirs(x, t, told))
        pixels = torch.rand(2, 3, 32, 32, generator=draw).double()
        close(vae.encode(pixels).latents, stage.quant_conv(stage.encoder(pixels)))
        codes = stage.quantize.embedding.weight
        nearest = (x.permute(0, 2, 3, 1)[..., None, :] - codes).square().sum(-1).argmin(-1)
        quantised = codes[nearest].permute(0, 3, 1, 2)
        assert torch.equal(prior.quantise(x), quantised)
        decoded = stage.decoder(stage.post_quant_conv(quantised))
        close(vae.decode(quantised, force_not_quantize=True).sample, decoded)
        torch.testing.assert_close(prior.decode(x), decoded.float() / 2 + 0.5, rtol=1e-5, atol=1e-5)
    assert torch.equal(prior.embedder.embedding.weight.double(), original.cond_stage_model.embedding.weight)
    assert [prior.class_row(key) for key in ("cat", "dog")] == [0, 1]


def test_at_full_size_every_name_has_one_place_of_its_shape():
    with torch.device("meta"):
        layout = Layout()
        theirs, ours = Original(layout), layout.build()
    unet = theirs.model.diffusion_model
    assert sum(value.numel() for value in unet.parameters()) == 400_920_579
    values, names = theirs.state_dict(), original_names(ours)
    assert names.keys() == values.keys()
    parts = {part: getattr(ours, part).state_dict() for part in ("unet", "vae", "embedder")}
    everything = {(part, name) for part, state in parts.items() for name in state}
    assert len(set(names.values())) == len(names) and set(names.values()) == everything
    for name, (part, place) in names.items():
        shape = parts[part][place].shape
        assert values[name].shape in (shape, (*shape, 1, 1)), name
    assert layout.classes == imagenet().keys and len(values["cond_stage_model.embedding.weight"]) == 1001


def test_weights_are_kept_to_the_bit_and_in_float32(original, converted, tmp_path):
    halves = {name: value.half() for name, value in original.state_dict().items()}
    convert(save(tmp_path / "half.ckpt", halves), tmp_path / "half", TINY)
    narrow = ClassLDMPipeline.from_pretrained(tmp_path / "half")
    assert narrow.unet.dtype == torch.float32
    for pipe, state in ((converted, original.state_dict()), (narrow, halves)):
        for part in ("unet", "vae", "embedder"):
            kept = getattr(pipe, part).state_dict()
            placed = {theirs: ours for theirs, (where, ours) in original_names(pipe).items() if where == part}
            for theirs, ours in placed.items():
                assert torch.equal(kept[ours].flatten(), state[theirs].float().flatten())


def refused(state, tmp_path, match):
    with pytest.raises(PotstillError, match=match):
        convert(save(tmp_path / "model.ckpt", state), tmp_path / "out", TINY)
    assert not (tmp_path / "out").exists()


def test_names_that_do_not_fit_are_told(original, tmp_path):
    state = dict(original.state_dict())
    lost = "model.diffusion_model.output_blocks.2.2.conv.bias"
    without = {name: value for name, value in state.items() if name != lost}
    refused(without, tmp_path, rf"model.ckpt.*Missing: {lost}\. Unexpected: none")
    refused(state | {"scale_factor": torch.ones(())}, tmp_path, r"Missing: none\. Unexpected: scale_factor$")
    stages = {name: value for name, value in state.items() if name.startswith("first")}
    refused(stages, tmp_path, r"Missing: cond_stage_model.embedding.weight, .* and \d+ more")
    wrong = state | {"cond_stage_model.embedding.weight": torch.ones(4, 16)}
    refused(
        wrong, tmp_path, r"cond_stage_model.embedding.weight .*model.ckpt has shape \[4, 16\], not \[3, 16\]"
    )
    with pytest.raises(PotstillError, match="does not hold the expected model"):
        convert(save(tmp_path / "model.ckpt", state), tmp_path / "out")


class Payload:
    pass


def test_files_that_are_no_checkpoint_are_told(tmp_path, checkpoint):
    with pytest.raises(PotstillError, match="cannot read .*absent.ckpt"):
        convert(tmp_path / "absent.ckpt", tmp_path / "out", TINY)
    text = tmp_path / "text.ckpt"
    text.write_text("not a checkpoint")
    with pytest.raises(PotstillError, match="text.ckpt is no torch file, or holds"):
        convert(text, tmp_path / "out", TINY)
    torch.save({"state_dict": {}, "callbacks": Payload()}, text)
    with pytest.raises(PotstillError, match="text.ckpt .*other things than tensors"):
        convert(text, tmp_path / "out", TINY)
    torch.save([torch.ones(2)], text)
    with pytest.raises(PotstillError, match="text.ckpt is no latent diffusion checkpoint"):
        convert(text, tmp_path / "out", TINY)
    convert(checkpoint, tmp_path / "out", TINY)
    with pytest.raises(PotstillError, match="out has a model already"):
        convert(checkpoint, tmp_path / "out", TINY)

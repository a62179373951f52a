"""The border of every prior: whatever the network predicts becomes a clean latent here and nowhere else."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from potstill.core.blocks import in_blocks
from potstill.core.errors import PotstillError, unknown
from potstill.core.fingerprint import fingerprint
from potstill.core.pixels import require_floats
from potstill.core.seeds import seeded
from potstill.data.real import Split
from potstill.priors.schedule import schedule


@dataclass(frozen=True, slots=True)
class Condition:
    """What a denoiser is told, as named tensors with one row an image."""

    values: Mapping[str, Tensor]

    def names(self) -> list[str]:
        """The tensors' names, in the order that `tensors` has."""
        return sorted(self.values)

    def tensors(self) -> list[Tensor]:
        """The tensors in the order of `names`."""
        return [self.values[name] for name in self.names()]


@dataclass(frozen=True, slots=True)
class Request:
    """One image asked of a prior: its class, the real images of that class, and the image's own generator."""

    key: str
    name: str
    draw: torch.Generator
    real: Split
    rows: Sequence[int]


SCHEDULING = ("prediction_type", "timestep_spacing", "steps_offset", "set_alpha_to_one")
"""Settings of a scheduler, beside its noise, that decide images."""
BROKEN = (TypeError, RuntimeError, ArithmeticError)
"""What diffusers and transformers raise where a configuration holds what no network can be built from."""


class Prior(ABC):
    """A frozen generator: latents in its own scaled units, pixels in [0, 1], float32 at the border.

    The network may compute in another dtype; noisy and clean latents, scores and the sampler stay in float32.
    """

    unused: tuple[str, ...] = ()
    """Parts of the pipeline that are not loaded."""
    first_stage: str = "vae"
    """The pipeline's name of the autoencoder."""
    guided_channels: int | None = None
    """How many latent channels, from the first, classifier-free guidance acts on; None is all."""
    respaced: bool = False
    """Whether DDIM takes timesteps evenly from first to last, whatever the pipeline's spacing is."""
    offloaded: tuple[torch.device, str] | None = None
    """Where it computes and its fingerprint, once its weights are elsewhere (`Execution`)."""

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        self.vae = getattr(pipe, self.first_stage).eval().requires_grad_(False)
        self.alphas_cumprod: Tensor = pipe.scheduler.alphas_cumprod.float()

    @staticmethod
    def from_pretrained(source: str, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> "Prior":
        """Opens a diffusers pipeline by shipped name, folder or hub id, or a folder of fine-tuned groups of classes.

        Raises PotstillError where it can't be loaded, and for a pipeline class that has no prior here.
        """
        from diffusers.pipelines.pipeline_utils import DiffusionPipeline

        from potstill.bundled import resolve, whence
        from potstill.priors import PRIORS
        from potstill.priors.groups import GROUPS, Groups

        place = resolve(source)
        if (Path(place) / GROUPS).is_file():
            return Groups(Path(place), device=device, dtype=dtype)
        try:
            index: Any = DiffusionPipeline.load_config(place)
            kind = str(index["_class_name"])
            if kind not in PRIORS:
                raise unknown("diffusers pipeline", kind, PRIORS, place)
            prior = PRIORS[kind]
            without = {part: None for part in prior.unused if part in index}
            pipe = prior.pipeline().from_pretrained(place, dtype=dtype, use_safetensors=True, **without)
        except (OSError, ValueError, KeyError, AttributeError, *BROKEN) as error:
            raise PotstillError(
                f"cannot load the pipeline {source!r} from {whence(source)}: {error}"
            ) from error
        return prior(pipe.to(device))

    @staticmethod
    def pipeline() -> Any:
        """The class that opens the prior's folders: diffusers' own choice, unless the prior has its own."""
        from diffusers.pipelines.pipeline_utils import DiffusionPipeline

        return DiffusionPipeline

    @property
    def device(self) -> torch.device:
        """Where the prior computes."""
        return self.offloaded[0] if self.offloaded else self.vae.device

    @property
    def network(self) -> Any:
        """The denoiser, a model of diffusers."""
        parts = self.pipe.components
        return parts["transformer"] if "transformer" in parts else parts["unet"]

    def as_published(self) -> None:
        """Computes as the authors' code does where diffusers departs; raises PotstillError where it doesn't."""
        raise PotstillError(
            f"{type(self).__name__} is computed as diffusers does; original=true is for DiT, which diffusers changes"
        )

    def forget(self, seed: int) -> None:
        """Gives the denoiser values as its class draws them before training; the first stage stays as it is.

        Its last layer is 0, as the authors of the UNets and of DiT begin it and diffusers does not.
        """
        with seeded(seed, "untrained"):
            fresh = type(self.network).from_config(self.network.config)
        self.network.load_state_dict(fresh.state_dict())
        last = self.network.proj_out_2 if "transformer" in self.pipe.components else self.network.conv_out
        for value in last.parameters():
            nn.init.zeros_(value)

    @property
    def fingerprint(self) -> str:
        """The hex SHA-256 of all its networks."""
        if self.offloaded:
            return self.offloaded[1]
        return fingerprint(part for part in self.pipe.components.values() if isinstance(part, nn.Module))

    @property
    def provenance(self) -> str:
        """The fingerprint and, after a plus, a hash of the noise schedules and how they are stepped."""
        digest = hashlib.sha256()
        for name, part in sorted(self.pipe.components.items()):
            if hasattr(part, "alphas_cumprod"):
                told = [name, *(part.config.get(setting) for setting in SCHEDULING)]
                digest.update(json.dumps(told).encode())
                digest.update(part.alphas_cumprod.float().cpu().numpy().tobytes())
        return f"{self.fingerprint}+{digest.hexdigest()[:16]}"

    @property
    @abstractmethod
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a latent."""

    @property
    def size(self) -> int:
        """The height and width of an image, in pixels."""
        return self.latent_shape[1] * self.shrink

    @property
    def shrink(self) -> int:
        """How many pixels a side of a latent pixel covers."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @abstractmethod
    def predict(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The network's raw output for noisy latents [n, c, h, w] at timesteps [n]."""

    @abstractmethod
    def blank(self, count: int) -> Condition:
        """A condition of the shapes that `condition` gives, which says nothing: for counting."""

    @abstractmethod
    def condition(self, requests: Sequence[Request]) -> Condition:
        """What to tell the denoiser so that it draws the images asked for."""

    @abstractmethod
    def null_condition(self, condition: Condition) -> Condition:
        """The unconditional counterpart of a condition, for classifier-free guidance."""

    def learnable(self, condition: Condition) -> Condition:
        """The same condition as float tensors that a gradient can reach; `predict` takes either."""
        return condition

    def denoise(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The clean latent [n, c, h, w] that the network sees in noisy latents, at one timestep for all."""
        return self.see(x_t, t, condition)[0]

    def see(self, x_t: Tensor, t: Tensor, condition: Condition) -> tuple[Tensor, Tensor | None]:
        """The clean latent and, where the network learned it, its variance's place v, each [n, c, h, w].

        Source: Nichol and Dhariwal 2021 (arXiv:2102.09672), Eq. 15: with (v + 1) / 2 the logarithm of the variance goes
        from that of the posterior's to that of beta.
        """

        def rows(noisy: Tensor, *tensors: Tensor) -> Tensor:
            told = Condition(dict(zip(condition.names(), tensors, strict=True)))
            return self.predict(noisy, t.to(noisy.device).expand(len(noisy)), told).float()

        raw, *spread = in_blocks(rows, x_t, *condition.tensors()).split(x_t.shape[1], 1)
        clean = to_clean(raw, x_t, self.alpha_bar(t), self.pipe.scheduler.config.prediction_type)
        return clean, spread[0] if spread else None

    def alpha_bar(self, t: Tensor) -> float:
        """The share of signal variance left at an integer timestep, in (0, 1)."""
        return float(self.alphas_cumprod[int(t)])

    def encode(self, pixels: Tensor) -> Tensor:
        """The mean latent [n, c, h, w], scaled, of pixels [n, 3, h, w] in [0, 1]."""
        posterior = self.vae.encode((require_floats(pixels) * 2 - 1).to(self.vae.dtype)).latent_dist
        return posterior.mean.float() * self.vae.config.scaling_factor

    def quantise(self, latents: Tensor) -> Tensor:
        """Latents [n, c, h, w] as decoding takes them: unchanged where the latent space is continuous."""
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels around [0, 1], not clamped, of scaled latents; the gradient reaches the latents."""
        scaled = (latents / self.vae.config.scaling_factor).to(self.vae.dtype)
        return self.vae.decode(scaled).sample.float() / 2 + 0.5

    @property
    def learned_variance(self) -> bool:
        """Whether the network says how noisy a step should be."""
        return self.network.config.out_channels == 2 * self.network.config.in_channels

    def schedule(self, steps: int, solver: str = "ddim") -> Any:
        """A diffusers scheduler that steps clean latents, with its timesteps set: see `schedule`."""
        return schedule(
            self.pipe.scheduler.config,
            steps,
            solver,
            learned=solver == "ancestral" and self.learned_variance,
            respaced=self.respaced,
            device=self.device,
        )

    def noise(self, draws: Sequence[torch.Generator], shape: Sequence[int] | None = None) -> Tensor:
        """Standard normal latents of the usual shape or another, one from each generator, drawn on the CPU."""
        drawn = [torch.randn(tuple(shape or self.latent_shape), generator=draw) for draw in draws]
        return torch.stack(drawn).to(self.device)


def to_clean(raw: Tensor, x_t: Tensor, alpha_bar: float | Tensor, prediction: str) -> Tensor:
    """What a network predicts, as a clean latent; `alpha_bar` is one number for all rows, or [n, 1, 1, 1].

    Source: CONCORD, Eq. 8 for "epsilon"; Salimans and Ho 2022 (arXiv:2202.00512), section 4 for "v_prediction".
    """
    signal, noise = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    if prediction == "epsilon":
        return (x_t - noise * raw) / signal
    if prediction == "v_prediction":
        return signal * x_t - noise * raw
    if prediction == "sample":
        return raw
    raise unknown("prediction type", prediction, ["epsilon", "v_prediction", "sample"])


def from_clean(x0: Tensor, x_t: Tensor, alpha_bar: float | Tensor, prediction: str) -> Tensor:
    """The inverse of `to_clean`: the prediction that a clean latent stands for."""
    signal, noise = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    if prediction == "epsilon":
        return (x_t - signal * x0) / noise
    if prediction == "v_prediction":
        return (signal * x_t - x0) / noise
    if prediction == "sample":
        return x0
    raise unknown("prediction type", prediction, ["epsilon", "v_prediction", "sample"])


def to_pixels(function: Callable[[Tensor], Tensor], latents: Tensor) -> Tensor:
    """Decodes latents to uint8 pixels [n, 3, h, w], clamped and rounded as diffusers does."""
    with torch.no_grad():
        decoded = in_blocks(function, latents)
    return (decoded.clamp(0, 1) * 255).round().to(torch.uint8).cpu()

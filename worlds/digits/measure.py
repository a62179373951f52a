"""How good the priors are: what a teacher makes of 1,000 generated digits, and how much they vary."""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from potstill.core.seeds import generator
from potstill.data.digits import digits
from potstill.nets.store import load_net
from potstill.priors import Condition, Prior, Request
from worlds.digits.augment import test_pixels, train_pixels
from worlds.digits.autoencoder import BUNDLED
from worlds.digits.store import write_metrics
from worlds.digits.training import BUILD

STEPS, PER_CLASS, AT_ONCE, SCALES = 50, 100, 250, (1.0, 1.5, 2.0)


@dataclass(frozen=True)
class Noise:
    """The starting latents and the conditions of all images, the same for every guidance scale."""

    latents: Tensor
    told: Condition
    nothing: Condition


def begun(prior: Prior, labels: Tensor) -> Noise:
    real = digits()
    requests = [
        Request(
            key=real.classes.keys[label],
            name=real.classes.names[label],
            draw=generator(0, "measure", label, place),
            real=real.train,
            rows=real.train.of_class(label).tolist(),
        )
        for place, label in enumerate(labels.tolist())
    ]
    told = prior.condition(requests)
    return Noise(prior.noise([request.draw for request in requests]), told, prior.null_condition(told))


@torch.no_grad()
def generated(prior: Prior, noise: Noise, scale: float) -> Tensor:
    """Pixels in [0, 1] by DDIM, the networks in bfloat16."""
    scheduler = prior.pipe.scheduler
    images = []
    for rows in torch.arange(len(noise.latents)).split(AT_ONCE):
        x = noise.latents[rows]
        told, nothing = (
            Condition({name: value[rows] for name, value in condition.values.items()})
            for condition in (noise.told, noise.nothing)
        )
        scheduler.set_timesteps(STEPS)
        for t in scheduler.timesteps:
            with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
                found = prior.predict(x, t.expand(len(x)), told).float()
                if scale != 1:
                    plain = prior.predict(x, t.expand(len(x)), nothing).float()
                    found = plain + scale * (found - plain)
            x = scheduler.step(found, t, x).prev_sample
        images.append(prior.decode(x).clamp(0, 1))
    return torch.cat(images)


def spread(features: Tensor, labels: Tensor) -> float:
    """Mean distance of two images of one class, averaged over classes."""
    return float(
        torch.stack([torch.pdist(features[labels == label]).mean() for label in labels.unique()]).mean()
    )


def grid(pixels: Tensor, labels: Tensor, file: Path) -> None:
    """Ten digits of each class, a class a row, twice as large."""
    rows = torch.cat([pixels[labels == label][:10] for label in labels.unique()])
    picture = rows.reshape(-1, 10, 3, 32, 32).permute(0, 3, 1, 4, 2).reshape(-1, 320, 3)
    image = Image.fromarray((picture * 255).round().byte().numpy())
    image.resize((image.width * 2, image.height * 2), Image.Resampling.NEAREST).save(file)


@torch.no_grad()
def main(name: str, per_class: int) -> None:
    prior = Prior.from_pretrained(str(BUNDLED / name))
    teacher: Any = load_net(BUNDLED / "teacher").module
    labels = torch.arange(10).repeat_interleave(per_class)

    def judged(pixels: Tensor, truth: Tensor) -> dict[str, float]:
        parts = pixels.split(AT_ONCE)
        chances = torch.cat([teacher(part) for part in parts]).softmax(1)
        features = torch.cat([teacher.embed(part) for part in parts])
        return {
            "teacher_accuracy": (chances.argmax(1) == truth).float().mean().item(),
            "teacher_confidence": chances[torch.arange(len(truth)), truth].mean().item(),
            "spread": spread(features, truth),
        }

    real, truth = train_pixels()
    rows = torch.cat([(truth == label).nonzero()[:per_class, 0] for label in range(10)])
    seen = {"real_train": judged(real[rows], truth[rows]), "real_test": judged(*test_pixels())}
    write_metrics(name, {"measured_images": len(labels), "ddim_steps": STEPS, **seen})
    noise = begun(prior, labels)
    for scale in SCALES:
        started = time.perf_counter()
        pixels = generated(prior, noise, scale)
        seconds = round(time.perf_counter() - started, 1)
        write_metrics(name, {f"guidance_{scale}": judged(pixels, labels) | {"seconds": seconds}})
        grid(pixels, labels, BUILD / f"{name}-{scale}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=("dit", "unclip"))
    parser.add_argument("--per-class", type=int, default=PER_CLASS)
    given = parser.parse_args()
    main(given.name, given.per_class)

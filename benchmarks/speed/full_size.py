"""What informing costs at full size: the published architectures with drawn weights, as cost does not depend on values.

`python benchmarks/speed/full_size.py` counts floating-point operations on the meta device (two for a multiplication and
its addition), which needs no accelerator and no weights. `--device cuda` builds the networks there and times them too,
with the process's peak memory: the authors' arrangement in float32, one image at a time, ours in bfloat16, `--batch`
images at a time, each beside an uninformed run of its own arrangement. `--prior`, `--arms` take a few by name.

An arm that pushes until complete needs to know how many images are still pushed: `--pushed` is that share, by default
the one that `--measure` finds on the digits.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import CLIPImageProcessor

from potstill.concepts import Vocabulary
from potstill.core.operations import operations
from potstill.core.progress import Step
from potstill.costs import informed
from potstill.data.digits import digits
from potstill.distilled import Slot
from potstill.encoders import Encoder
from potstill.guidance import Moment, Targets, guided
from potstill.guidance.free import ClassifierFree
from potstill.guidance.push import Pace, Push
from potstill.guidance.scores import ConceptScore, MeanCosine, contrastive
from potstill.methods.guided import Guided
from potstill.methods.terms import ConceptTerm
from potstill.priors import Condition, Prior, published
from potstill.priors.dit import DiT
from potstill.priors.tiny import decode_tiny
from potstill.priors.unclip import UnCLIP
from potstill.recipes import RECIPES

STEPS, PHRASES, NEGATIVES, WIDTH = 50, 5, 10, 768
PUSHED = 0.08
"""Of the images, on average over steps, in `digits-dit-complete`: what `--measure` prints."""


class Told(UnCLIP):
    """unCLIP whose conditions are given as tensors, without tokenizer and images."""

    def null_condition(self, condition: Condition) -> Condition:
        """As large as the condition."""
        return Condition({name: torch.zeros_like(value) for name, value in condition.values.items()})


@dataclass(frozen=True)
class World:
    """A prior and the models that inform it."""

    prior: Prior
    condition: Callable[[int], Condition]
    scale: float
    encoder: Encoder
    tiny: torch.nn.Module
    pool: int
    """Latents a side averaged in the pooled arm, so that it decodes 32 x 32 ones."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A way to inform; without a pace it does not."""

    pace: Pace | None = None
    scaled: bool = True
    tiny: bool = False
    alone: bool = False
    """One image at a time in float32, as the authors do."""
    pushed: float = 1.0


def arms(pool: int, pushed: float) -> dict[str, Arm]:
    """Every arm by name; the first of each arrangement is what its ratios are of."""
    clean = Pace(weight=0.1, normalise=True)
    every_4, complete = replace(clean, every=4), replace(clean, until=0.2, check=4, every=4)
    window = replace(clean, start=0.2, stop=0.9, every=2)
    return {
        "authors: guidance": Arm(alone=True),
        "authors: noisy look, full decoder": Arm(pace=replace(clean, look="noisy"), alone=True),
        "guidance": Arm(),
        "no guidance": Arm(scaled=False),
        "clean look, full decoder": Arm(pace=clean),
        "tiny decoder": Arm(pace=clean, tiny=True),
        "full decoder, every 4": Arm(pace=every_4),
        "tiny decoder, every 4": Arm(pace=every_4, tiny=True),
        "tiny decoder, window, every 2": Arm(pace=window, tiny=True),
        **({"pooled latents, full decoder": Arm(pace=replace(clean, pool=pool))} if pool > 1 else {}),
        "tiny, until complete, every 4": Arm(pace=complete, tiny=True, pushed=pushed),
        "no guidance, tiny, until complete, every 4": Arm(
            pace=complete, tiny=True, scaled=False, pushed=pushed
        ),
    }


def world(name: str, device: str, dtype: torch.dtype) -> World:
    """The published architectures on a device, with drawn weights."""
    with torch.device(device):
        pipe = published.dit_xl_2() if name == "dit-256" else published.unclip_768()
        clip, tiny = published.clip_vit_l_14(), published.tiny_autoencoder()
    pipe.scheduler.alphas_cumprod = torch.linspace(0.999, 0.005, 1000)
    for part in (*pipe.components.values(), clip, tiny):
        if isinstance(part, torch.nn.Module):
            torch.nn.Module.to(part, dtype=dtype).eval().requires_grad_(False)
    encoder = Encoder(clip, None, CLIPImageProcessor())

    def classes(count: int) -> Condition:
        return Condition({"class": torch.zeros(count, dtype=torch.int64, device=device)})

    def prompts(count: int) -> Condition:
        text = torch.zeros(count, 77, 1024, device=device, dtype=dtype)
        return Condition({"text": text, "image": torch.zeros(count, 2048, device=device, dtype=dtype)})

    if name == "dit-256":
        return World(DiT(pipe), classes, 4.0, encoder, tiny, 1)
    return World(Told(pipe), prompts, 10.0, encoder, tiny, 3)


def denoiser(world: World, arm: Arm, count: int) -> Callable[[Tensor, Moment], Tensor]:
    """Our own guided denoiser for a batch; images to be left alone are complete from the beginning."""
    terms: list[ClassifierFree | Push] = [ClassifierFree(world.scale if arm.scaled else 1.0)]
    if arm.pace:
        device = world.prior.device
        ends = torch.full((count,), -torch.inf, device=device)
        ends[: pushed_of(arm, count)] = torch.inf
        texts = torch.ones(count, PHRASES + NEGATIVES, WIDTH, device=device) / WIDTH**0.5
        targets = Targets(
            torch.zeros(count, dtype=torch.int64, device=device), texts[:, :PHRASES], texts[:, PHRASES:], ends
        )
        score = ConceptScore(world.encoder, contrastive, 0.05)
        decode = (lambda latents: decode_tiny(world.tiny, latents)) if arm.tiny else None
        terms.append(
            Push(score=score, pace=arm.pace, targets=targets, gauge=MeanCosine(world.encoder), decode=decode)
        )
    return guided(world.prior, world.condition(count), terms)


def pushed_of(arm: Arm, count: int) -> int:
    """How many images of a batch are pushed: at least one, so that small batches cost more than the arm's share."""
    return max(1, round(arm.pushed * count))


def counted(world: World, arm: Arm) -> float:
    """Operations an image, over all steps."""
    bare = operations(lambda: denoiser(world, Arm(scaled=False), 1)(*_middle(world)))
    total = STEPS * bare * (2 if arm.scaled else 1)
    if arm.pace is None:
        return total
    decode = (lambda latents: decode_tiny(world.tiny, latents)) if arm.tiny else world.prior.decode
    term = ConceptTerm(vocabulary=Vocabulary(bank="imagenet1k", encoder=""), pace=arm.pace)
    return total + informed(world.prior, world.encoder, decode, term, STEPS, bare, arm.pushed)


def _middle(world: World) -> tuple[Tensor, Moment]:
    t = torch.tensor(500)
    noise = torch.zeros(1, *world.prior.latent_shape, device=world.prior.device)
    return noise, Moment(STEPS // 2, STEPS, t, world.prior.alpha_bar(t))


def seconds(world: World, arm: Arm, count: int, steps: int) -> float:
    """Seconds an image and `STEPS` steps, of one run of `steps`."""
    device = world.prior.device
    latents = torch.randn(count, *world.prior.latent_shape, device=device)
    run = denoiser(world, arm, count)
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    with torch.no_grad():
        for index in range(steps):
            t = torch.tensor(999 - 999 * index // steps)
            latents = run(latents, Moment(index, steps, t, world.prior.alpha_bar(t)))
            latents = latents / latents.std().clamp_min(1e-6)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) * STEPS / steps / count


def measured_share() -> float:
    """The share of images that `digits-dit-complete` pushes, on average over its steps; 50 images."""
    recipe, real = RECIPES["digits-dit-complete"](), digits()
    assert isinstance(recipe.method, Guided)
    slots = [Slot(key, index) for key in real.classes.keys for index in range(5)]
    shares: list[float] = []

    def note(step: Step) -> None:
        if step.stage == "push":
            shares.append(step.scalars["pushed"])

    recipe.method.prepare(real, seed=0, images_per_class=5, device="cpu").make(slots, note)
    return statistics.mean(shares)


def main(words: Sequence[str] | None = None) -> None:
    """Counts, times where there is a device, and prints a table a prior; `words` in place of the command line's."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--device", default="meta")
    options.add_argument("--prior", nargs="+", default=["dit-256", "unclip-768"])
    options.add_argument("--arms", nargs="+", default=[])
    options.add_argument("--batch", type=int, default=16)
    options.add_argument("--steps", type=int, default=STEPS, help="that are timed; the time is for 50")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--pushed", type=float, default=PUSHED)
    options.add_argument("--measure", action="store_true", help="print the share of pushed digits and stop")
    chosen = options.parse_args(words)
    console = Console(width=140)
    if chosen.measure:
        console.print(f"pushed on the digits: {measured_share():.3f}")
        return
    for name in chosen.prior:
        hollow = world(name, "meta", torch.float32)
        each = arms(hollow.pool, chosen.pushed)
        bases = {base_of(arm) for key, arm in each.items() if key in chosen.arms}
        each = {key: arm for key, arm in each.items() if not chosen.arms or key in {*chosen.arms, *bases}}
        flops = {key: counted(hollow, arm) for key, arm in each.items()}
        times: dict[str, list[float]] = {key: [] for key in each}
        peaks = dict.fromkeys(each, 0.0)
        if chosen.device != "meta":
            for alone in (True, False):
                dtype = torch.float32 if alone or chosen.device == "cpu" else torch.bfloat16
                built = world(name, chosen.device, dtype)
                for turn in range(chosen.rounds + 1):
                    for key in (key for key, arm in each.items() if arm.alone == alone):
                        if chosen.device.startswith("cuda"):
                            torch.cuda.reset_peak_memory_stats()
                        count = 1 if alone else chosen.batch
                        took = seconds(
                            built, each[key], count, chosen.steps if turn else min(chosen.steps, 4)
                        )
                        if turn:
                            times[key].append(took)
                        if chosen.device.startswith("cuda"):
                            peaks[key] = torch.cuda.max_memory_allocated() / 2**30
                del built
        console.print(shown(name, each, flops, times, peaks, chosen))


def base_of(arm: Arm) -> str:
    """The uninformed arm of the same arrangement, which is counted and timed beside it."""
    return "authors: guidance" if arm.alone else "guidance"


def shown(
    name: str,
    each: dict[str, Arm],
    flops: dict[str, float],
    times: dict[str, list[float]],
    peaks: dict[str, float],
    chosen: argparse.Namespace,
) -> Table:
    """The table of one prior; ratios of seconds are medians of ratios within a round."""
    timed = f", {pushed_of(Arm(pushed=chosen.pushed), chosen.batch)} of {chosen.batch} where it is timed"
    title = f"{name}, {STEPS} steps, pushed {chosen.pushed:.2f}{timed}, {chosen.device}"
    table = Table("arm", "TFLOP/image", "ratio", "s/image", "ratio", "lowest to highest", "GiB", title=title)
    for key, arm in each.items():
        base = base_of(arm)
        cells = [f"{flops[key] / 1e12:.1f}", f"{flops[key] / flops[base]:.2f}"]
        if times[key]:
            ratios = [own / other for own, other in zip(times[key], times[base], strict=True)]
            cells += [f"{statistics.median(times[key]):.3f}", f"{statistics.median(ratios):.2f}"]
            cells += [f"{min(ratios):.2f} to {max(ratios):.2f}", f"{peaks[key]:.1f}"]
        else:
            cells += ["-"] * 4
        table.add_row(key, *cells)
    return table


if __name__ == "__main__":
    main()

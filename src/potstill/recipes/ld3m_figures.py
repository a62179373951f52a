"""The figures of LD3M (arXiv:2403.03881), each at full size and on digits.

They are known by their captions alone: what a figure varies is the source's, the values are ours.
"""

from dataclasses import dataclass
from functools import partial

from potstill.recipes.study import Arm, Over, Study


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Where a figure is made: its names' beginning, and what fits its size."""

    name: str
    prefix: str
    leading: str
    """The objective of the figures that show only one."""
    steps: tuple[str, ...]
    others: Over
    """A denoiser of other images."""


FULL = World(
    name="ld3m",
    prefix="imagenet-",
    leading="mtt",
    steps=("5", "10", "20", "35", "50"),
    others={"method.canvas.prior": ("CompVis/ldm-celebahq-256",), "method.canvas.scale": ("1",)},
)
DIGITS = World(
    name="digits-ld3m",
    prefix="digits-",
    leading="dm",
    steps=("2", "5", "10", "20"),
    others={"method.canvas.prior": ("runs/other-dit",)},
)


def _images(world: World) -> Study:
    canvases = [f"{objective}-{canvas}" for objective in ("dc", "dm", "mtt") for canvas in ("glad", "ld3m")]
    return Study(
        name=f"{world.name}-figure-2-images",
        source="LD3M (arXiv:2403.03881), figure 2; look at them in the page",
        summary="images learned through a diffusion chain beside those of a GAN",
        arms=tuple(Arm(recipe=f"{world.prefix}{canvas}") for canvas in canvases),
        over={"students": ("0",)},
    )


def _training(world: World) -> Study:
    recipe = f"{world.prefix}{world.leading}-ld3m"
    return Study(
        name=f"{world.name}-figure-3-training",
        source="LD3M (arXiv:2403.03881), figure 3, its faces those of CelebA-HQ in place of FFHQ",
        summary="a denoiser trained on the data, on other images, or not at all",
        arms=(
            Arm(recipe=recipe, over={"method.canvas.pretrained": ("true", "false")}),
            Arm(recipe=recipe, over=world.others),
        ),
    )


def _steps(world: World) -> Study:
    return Study(
        name=f"{world.name}-figure-4-steps",
        source="LD3M (arXiv:2403.03881), figure 4; its values of K are not known here",
        summary="accuracy and time against the steps of the chain",
        arms=(Arm(recipe=f"{world.prefix}{world.leading}-ld3m", over={"method.canvas.steps": world.steps}),),
    )


def _residual(world: World) -> Study:
    residuals = {"method.canvas.residual": ("none", "noisy", "clean"), "method.iterations": ("0",)}
    return Study(
        name=f"{world.name}-figure-5-residual",
        source="LD3M (arXiv:2403.03881), figure 5; look at them in the page",
        summary="plain generation, nothing learned, with and without the residual",
        arms=(Arm(recipe=f"{world.prefix}{world.leading}-ld3m", over=residuals),),
        over={"students": ("0",)},
    )


full_images, digits_images = partial(_images, FULL), partial(_images, DIGITS)
full_training, digits_training = partial(_training, FULL), partial(_training, DIGITS)
full_steps, digits_steps = partial(_steps, FULL), partial(_steps, DIGITS)
full_residual, digits_residual = partial(_residual, FULL), partial(_residual, DIGITS)

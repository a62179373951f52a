"""LD3M (arXiv:2403.03881) and GLaD (arXiv:2305.01649): three objectives on a prior's canvases.

At full size on ImageNet-A at 128 px with the settings of both codes; `--classes` names another subset. LD3M's later
code also prunes: `--set 'method.prune={"teacher": "microsoft/resnet-18", "share": 0.6}'` (DC, MTT) or 0.2 (DM); for MTT
its experts too (`potstill buffer --prune`).

Departs: LD3M's code runs 10,000 iterations where its figures speak of 1,000, which are taken. Its gradient for MTT is
half of what it means to be (a product with 2 repeats a tuple), so its rate of 1,000 is 500 here. The prior is what
`potstill convert` makes of the authors' checkpoint, the generator the file of StyleGAN-XL.
"""

import dataclasses
from functools import partial

from potstill.canvas.chain import Chain
from potstill.canvas.gan_code import GanCode
from potstill.canvas.latents import Latents
from potstill.methods.matching import Matching
from potstill.nets.siamese import OPERATIONS
from potstill.objectives.distribution import DistributionMatching
from potstill.objectives.gradient import GradientMatching
from potstill.objectives.trajectory import TrajectoryMatching
from potstill.recipes import matching
from potstill.recipes.matching import on_digits
from potstill.recipes.recipe import Recipe

Objective = GradientMatching | DistributionMatching | TrajectoryMatching
NET = "convnet-5-instance"
ON_DIGITS = {"dc": matching.DC, "dm": matching.DM, "mtt": matching.MTT}
SIZE = 128
MTT = TrajectoryMatching(buffer="runs/buffer-imagenet-a", rate_of_rate=1e-6, max_start=5, unroll="constant")
"""GLaD's; LD3M takes fewer steps."""
ON_IMAGENET = {
    "dc": GradientMatching(net=NET, outer=1, inner=1, operations=OPERATIONS),
    "dm": DistributionMatching(net=NET),
    "mtt": MTT,
}
CHAIN = {"dc": 0.1, "dm": 1.0, "mtt": 500.0}
CODES = {"dc": (0.001, 1.0, 16), "dm": (0.01, 10.0, 20), "mtt": (10.0, 10000.0, 12)}
"""By objective the rates of w and of f, and the layer of f."""
DIGITS_CHAIN = {"dc": 0.1, "dm": 0.1, "mtt": 100.0}
DIGITS_CODES = {"dc": (0.001, 1.0, 2), "dm": (0.001, 1.0, 2), "mtt": (1.0, 100.0, 2)}
ITERATIONS = {"dc": 80, "dm": 100, "mtt": 60}


def digits_latents(objective: str) -> Recipe:
    """An objective on the latents of the digits' autoencoder."""
    canvas = Latents(prior="digits/dit", rate=DIGITS_CHAIN[objective])
    return _digits(objective, "latents", "an autoencoder's latents", canvas)


def digits_glad(objective: str) -> Recipe:
    """GLaD with the digits' style GAN."""
    rate_w, rate_f, layer = DIGITS_CODES[objective]
    canvas = GanCode(generator="digits/gan", layer=layer, rate_w=rate_w, rate_f=rate_f)
    return _digits(objective, "glad", "the codes of a GAN (GLaD)", canvas)


def digits_ld3m(objective: str) -> Recipe:
    """LD3M through five steps of the digits' DiT."""
    rate = DIGITS_CHAIN[objective]
    canvas = Chain(prior="digits/dit", steps=5, scale=1.5, rate=rate, rate_condition=rate)
    return _digits(objective, "ld3m", "a diffusion chain (LD3M)", canvas)


def imagenet_glad(objective: str) -> Recipe:
    """GLaD with StyleGAN-XL."""
    rate_w, rate_f, layer = CODES[objective]
    canvas = GanCode(generator="models/imagenet128.pkl", layer=layer, rate_w=rate_w, rate_f=rate_f)
    return _imagenet(objective, "glad", "the codes of StyleGAN-XL (GLaD)", ON_IMAGENET[objective], canvas)


def imagenet_ld3m(objective: str) -> Recipe:
    """LD3M through ten steps of the class-conditional LDM."""
    rate = CHAIN[objective]
    canvas = Chain(prior="models/ldm", rate=rate, rate_condition=rate, size=SIZE)
    fewer = {"mtt": dataclasses.replace(MTT, steps=10, expert_epochs=2, max_start=2)}
    matched = (ON_IMAGENET | fewer)[objective]
    return _imagenet(objective, "ld3m", "a diffusion chain (LD3M)", matched, canvas)


def _digits(objective: str, canvas_name: str, where: str, canvas: Latents | GanCode | Chain) -> Recipe:
    method = Matching(objective=ON_DIGITS[objective], canvas=canvas, iterations=ITERATIONS[objective])
    return on_digits(f"digits-{objective}-{canvas_name}", f"{objective.upper()} on {where}", method)


def _imagenet(
    objective: str, canvas_name: str, where: str, matched: Objective, canvas: GanCode | Chain
) -> Recipe:
    return Recipe(
        name=f"imagenet-{objective}-{canvas_name}",
        summary=f"{objective.upper()} on {where}",
        method=Matching(objective=matched, canvas=canvas, chunk=10),
        data="hub:ILSVRC/imagenet-1k",
        classes="imagenet-a",
        images_per_class=1,
        protocol="glad@1",
        student=NET,
    )


digits_dc_latents, digits_dm_latents, digits_mtt_latents = (partial(digits_latents, one) for one in ON_DIGITS)
digits_dc_glad, digits_dm_glad, digits_mtt_glad = (partial(digits_glad, one) for one in ON_DIGITS)
digits_dc_ld3m, digits_dm_ld3m, digits_mtt_ld3m = (partial(digits_ld3m, one) for one in ON_DIGITS)
imagenet_dc_glad, imagenet_dm_glad, imagenet_mtt_glad = (partial(imagenet_glad, one) for one in ON_IMAGENET)
imagenet_dc_ld3m, imagenet_dm_ld3m, imagenet_mtt_ld3m = (partial(imagenet_ld3m, one) for one in ON_IMAGENET)

"""DC, DSA, DM and LD3M on digits, and the settings that their authors publish for CIFAR-10 and ImageNet."""

import dataclasses

from potstill.canvas.chain import Chain
from potstill.canvas.latents import Latents
from potstill.canvas.pixels import Pixels
from potstill.methods.matching import Matching
from potstill.nets.siamese import OPERATIONS
from potstill.objectives.distribution import DistributionMatching
from potstill.objectives.gradient import GradientMatching
from potstill.objectives.idm import Idm
from potstill.objectives.trajectory import TrajectoryMatching
from potstill.recipes import digits
from potstill.recipes.recipe import Recipe

SMALL = "convnet-3-instance-w32"
"""The net of the digits recipes: a quarter of the width, as two cores allow."""

DC = GradientMatching(net=SMALL, batch=64, outer=1, inner=1)
DM = DistributionMatching(net=SMALL, batch=64)


def digits_dc() -> Recipe:
    """DC from real digits."""
    return _digits(
        "digits-dc",
        "DC: gradients matched, on pixels",
        Matching(objective=DC, canvas=Pixels(), iterations=300),
    )


def digits_dsa() -> Recipe:
    """DSA from real digits."""
    dsa = dataclasses.replace(DC, operations=OPERATIONS)
    return _digits(
        "digits-dsa",
        "DSA: gradients of changed images matched",
        Matching(objective=dsa, canvas=Pixels(), iterations=300),
    )


def digits_dm() -> Recipe:
    """DM from real digits."""
    return _digits(
        "digits-dm",
        "DM: class means of features matched",
        Matching(objective=DM, canvas=Pixels(rate=1.0), iterations=500),
    )


def digits_idm() -> Recipe:
    """IDM from real digits, four tiles an image."""
    objective = Idm(net=SMALL, batch=64, nets=10, interval=10, steps=5)
    method = Matching(objective=objective, canvas=Pixels(rate=0.2, parts=2), iterations=200)
    return _digits("digits-idm", "IDM: class means in nets in training, tiles", method)


def digits_mtt() -> Recipe:
    """MTT from real digits, after experts that `potstill buffer` trained."""
    objective = TrajectoryMatching(buffer="runs/buffer", steps=10, expert_epochs=2, max_start=5)
    method = Matching(objective=objective, canvas=Pixels(rate=100.0), iterations=200)
    return _digits("digits-mtt", "MTT: trajectories of experts followed", method)


def digits_dm_latents() -> Recipe:
    """DM over the latents of the digits' autoencoder."""
    method = Matching(objective=DM, canvas=Latents(prior="digits/dit", rate=1.0), iterations=200)
    return _digits("digits-dm-latents", "DM on an autoencoder's latents", method)


def digits_dm_ld3m() -> Recipe:
    """LD3M with DM through five steps of the digits' DiT."""
    canvas = Chain(prior="digits/dit", steps=5, scale=1.5, rate=1.0, rate_condition=1.0)
    return _digits(
        "digits-dm-ld3m",
        "LD3M: DM through the diffusion chain",
        Matching(objective=DM, canvas=canvas, iterations=100),
    )


def digits_dc_ld3m() -> Recipe:
    """LD3M with DC through five steps of the digits' DiT."""
    canvas = Chain(prior="digits/dit", steps=5, scale=1.5)
    return _digits(
        "digits-dc-ld3m",
        "LD3M: DC through the diffusion chain",
        Matching(objective=DC, canvas=canvas, iterations=100),
    )


def cifar10_dc() -> Recipe:
    """DC as published: from noise, 1,000 iterations."""
    method = Matching(objective=GradientMatching(), canvas=Pixels(start="noise"), iterations=1000)
    return _cifar("cifar10-dc", "DC with its published settings", method, "dc@1")


def cifar10_dsa() -> Recipe:
    """DSA as published: from real images, 1,000 iterations."""
    method = Matching(objective=GradientMatching(operations=OPERATIONS), canvas=Pixels(), iterations=1000)
    return _cifar("cifar10-dsa", "DSA with its published settings", method, "dsa@1")


def cifar10_dm() -> Recipe:
    """DM as published: from real images, 20,000 iterations."""
    method = Matching(objective=DistributionMatching(), canvas=Pixels(rate=1.0), iterations=20000)
    return _cifar("cifar10-dm", "DM with its published settings", method, "dsa@1")


def _digits(name: str, summary: str, method: Matching) -> Recipe:
    return dataclasses.replace(
        digits.random(),
        name=name,
        summary=summary,
        method=method,
        images_per_class=1,
        protocol="dc@1",
        student=SMALL,
        teacher=None,
    )


def _cifar(name: str, summary: str, method: Matching, protocol: str) -> Recipe:
    return Recipe(
        name=name,
        summary=summary,
        method=method,
        data="hub:uoft-cs/cifar10",
        images_per_class=10,
        protocol=protocol,
        student="convnet-3-instance",
    )

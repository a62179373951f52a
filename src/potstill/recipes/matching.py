"""DC, DSA, DM, MTT and IDM on pixels of digits, and the settings that their authors publish for CIFAR-10."""

import dataclasses

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
"""The net of the digits recipes: a quarter of the width, as two cores allow. Rates on digits are those that
`python benchmarks/accuracy/tune_matching.py` found best among powers of ten, on held-out training images."""

DC = GradientMatching(net=SMALL, batch=64, outer=1, inner=1)
DM = DistributionMatching(net=SMALL, batch=64)
MTT = TrajectoryMatching(buffer="runs/buffer", steps=10, expert_epochs=2, max_start=5)


def digits_dc() -> Recipe:
    """DC from real digits."""
    return on_digits(
        "digits-dc",
        "DC: gradients matched, on pixels",
        Matching(objective=DC, canvas=Pixels(rate=1.0), iterations=150),
    )


def digits_dsa() -> Recipe:
    """DSA from real digits."""
    dsa = dataclasses.replace(DC, operations=OPERATIONS)
    return on_digits(
        "digits-dsa",
        "DSA: gradients of changed images matched",
        Matching(objective=dsa, canvas=Pixels(rate=1.0), iterations=150),
    )


def digits_dm() -> Recipe:
    """DM from real digits."""
    return on_digits(
        "digits-dm",
        "DM: class means of features matched",
        Matching(objective=DM, canvas=Pixels(rate=1.0), iterations=200),
    )


def digits_idm() -> Recipe:
    """IDM from real digits, four tiles an image."""
    objective = Idm(net=SMALL, batch=64, batch_net=64, nets=10, interval=10, steps=5)
    method = Matching(objective=objective, canvas=Pixels(rate=0.2, parts=2), iterations=100)
    return on_digits("digits-idm", "IDM: class means in nets in training, tiles", method)


def digits_mtt() -> Recipe:
    """MTT from real digits, after experts that `potstill buffer` trained."""
    method = Matching(objective=MTT, canvas=Pixels(rate=1000.0), iterations=100)
    return on_digits("digits-mtt", "MTT: trajectories of experts followed", method)


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


def cifar10_mtt() -> Recipe:
    """MTT as dc_benchmark has it for 10 images per class; `potstill buffer` makes its experts first.

    Departs: students of the finished set learn at the protocol's rate, where MTT's learn at the rate that it found.
    """
    objective = TrajectoryMatching(
        buffer="runs/buffer-cifar10", steps=30, expert_epochs=2, max_start=20, rate=0.001
    )
    method = Matching(objective=objective, canvas=Pixels(colours="zca", rate=100.0), iterations=5000)
    return _cifar("cifar10-mtt", "MTT with its published settings", method, "dsa@1")


def on_digits(name: str, summary: str, method: Matching) -> Recipe:
    """A recipe of matching on digits, judged by hard labels on the net that it matches with."""
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

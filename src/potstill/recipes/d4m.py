"""D4M (arXiv:2407.15138), on digits with the guidance scales that the priors have in the other recipes."""

import dataclasses

from potstill.methods.d4m import D4M
from potstill.recipes import concord, digits
from potstill.recipes.recipe import Recipe


def digits_dit() -> Recipe:
    """D4M with the DiT prior, which is told a class."""
    method = D4M(prior="digits/dit", scale=1.5)
    return _digits("digits-d4m", "D4M: prototypes of real digits, denoised part-way by DiT", method)


def digits_unclip() -> Recipe:
    """D4M with the unCLIP prior, which is told a prompt and the real image nearest to the prototype."""
    method = D4M(prior="digits/unclip", scale=2.0)
    return _digits("digits-d4m-unclip", "D4M: prototypes of real digits, denoised part-way by unCLIP", method)


def imagenet() -> Recipe:
    """D4M with Stable Diffusion 1.5 at 512 px, on ImageWoof; what departs is in docs/methods/d4m.md."""
    method = D4M(prior="stable-diffusion-v1-5/stable-diffusion-v1-5")
    summary = "D4M: prototypes denoised part-way by Stable Diffusion 1.5"
    return dataclasses.replace(concord.random(), name="imagenet-d4m", summary=summary, method=method)


def _digits(name: str, summary: str, method: D4M) -> Recipe:
    return dataclasses.replace(digits.random(), name=name, summary=summary, method=method)

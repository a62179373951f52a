"""Frozen generators behind one convention: (noisy latent, timestep, condition) to clean latent."""

from potstill.core.table import Table
from potstill.priors.generator import Generator as Generator
from potstill.priors.generator import load_generator as load_generator
from potstill.priors.prior import Condition as Condition
from potstill.priors.prior import Prior as Prior
from potstill.priors.prior import Request as Request

PRIORS = Table(
    "diffusers pipeline",
    {
        "DiTPipeline": "potstill.priors.dit:DiT",
        "StableUnCLIPImg2ImgPipeline": "potstill.priors.unclip:UnCLIP",
        "StableDiffusionPipeline": "potstill.priors.stable_diffusion:StableDiffusion",
        "ClassLDMPipeline": "potstill.priors.ldm:LDM",
        "LDMPipeline": "potstill.priors.unconditional:UnconditionalLDM",
    },
)

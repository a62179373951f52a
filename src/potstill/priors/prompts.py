"""Prompts as the text encoder of a diffusers pipeline tells them to its denoiser."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

TOKENS = 77
"""Of every prompt, as CLIP's text towers have them."""


@torch.no_grad()
def prompted(pipe: Any, prompts: Sequence[str], device: torch.device) -> Tensor:
    """Text states [n, tokens, d] of prompts, each distinct one encoded by itself, once."""
    states = {prompt: pipe.encode_prompt([prompt], device, 1, False)[0] for prompt in sorted(set(prompts))}
    return torch.cat([states[prompt] for prompt in prompts])

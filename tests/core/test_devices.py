"""Devices that there are not are named before any work begins."""

import pytest
import torch

from potstill.core.devices import usable
from potstill.core.errors import PotstillError


def test_the_cpu_is_always_there() -> None:
    assert usable("cpu") == "cpu"


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "meta", "cuda:4096", ""])
def test_what_is_not_here_is_named(device: str) -> None:
    with pytest.raises(PotstillError, match=f"there is no device '{device}' here.* Allowed: cpu"):
        usable(device)


def test_a_build_without_cuda_says_so() -> None:
    if torch.version.cuda or torch.version.hip:
        assert not torch.cuda.is_available() or usable("cuda") == "cuda"
    else:
        with pytest.raises(PotstillError, match="'cuda' here \\(this PyTorch is built without CUDA\\)"):
            usable("cuda")

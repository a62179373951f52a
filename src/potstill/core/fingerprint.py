"""Which weights a result came from."""

import hashlib
from collections.abc import Iterable

import torch
from torch import nn


def fingerprint(modules: Iterable[nn.Module]) -> str:
    """The hex SHA-256 of all parameters and buffers, with their names and dtypes, in order."""
    digest = hashlib.sha256()
    for module in modules:
        for name, value in module.state_dict().items():
            digest.update(f"{name}:{value.dtype}:{tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()

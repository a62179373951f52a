"""Which devices this machine can compute on."""

from potstill.core.errors import PotstillError


def usable(device: str) -> str:
    """The device itself; raises PotstillError for one that there is not here, or that holds no values."""
    if device == "cpu":
        return device
    import torch

    try:
        if torch.empty(1, device=device).device.type != "meta":
            return device
    except (RuntimeError, AssertionError, NotImplementedError):
        pass
    without = device.startswith("cuda") and not (torch.version.cuda or torch.version.hip)
    cause = " (this PyTorch is built without CUDA)" if without else ""
    raise PotstillError(f"there is no device {device!r} here{cause}. Allowed: {', '.join(_here())}.")


def _here() -> list[str]:
    """Devices of this machine by name."""
    import torch

    found = ["cpu"]
    if torch.cuda.is_available():
        found += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        found.append("mps")
    return found

"""Floating-point operations of whatever torch runs, without running it where tensors are on the meta device."""

from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


def operations(run: Callable[[], object]) -> int:
    """The operations of a call, two for a multiplication and its addition, by torch's own formulae."""
    with _Counting() as counter:
        run()
    return counter.total


class _Counting(TorchDispatchMode):
    """Adds up; torch's FlopCounterMode cannot follow `torch.autograd.grad` to a leaf."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        formula = flop_registry.get(func._overloadpacket)
        if formula is None:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=result)
        return result

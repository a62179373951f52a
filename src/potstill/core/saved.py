"""What torch keeps of a forward pass for the backward one."""

from collections.abc import Callable, Iterable

from torch import Tensor, UntypedStorage
from torch.autograd.graph import saved_tensors_hooks


def saved_bytes(run: Callable[[], object], known: Iterable[Tensor] = ()) -> int:
    """The bytes of all that a call saves for gradients, each storage once, without those of `known` tensors."""
    held: dict[int, UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage._cdata] = storage
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    for tensor in known:
        held.pop(tensor.untyped_storage()._cdata, None)
    return sum(storage.nbytes() for storage in held.values())

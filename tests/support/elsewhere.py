"""A second device made of the CPU's memory: it computes alike and refuses what a GPU refuses.

A tensor on it wraps an ordinary one. To mix it with tensors on the CPU (other than copies, single values and indices),
to draw on it from a CPU's generator, or to read its memory is an error. So code that forgets a device fails without a
GPU, and the results are the CPU's to compare with. It belongs into a process of its own: the name is there for good.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "elsewhere"
HERE = torch.device("cpu")
aten = torch.ops.aten
COPIES = {aten.copy_.default, aten._to_copy.default}
INDEXED = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default}


class Backend(_DummyBackendModule):
    """What torch asks of a device's module when it computes something again."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def get_rng_state(self, device: object = None) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor, device: object = None) -> None:
        pass


_setup_privateuseone_for_python_backend(NAME, Backend())
torch.__future__.set_overwrite_module_params_on_conversion(
    True
)  # to set a wrapper's data leaves what it holds
THERE = torch.device(NAME, 0)


class Elsewhere(Tensor):
    """A tensor on the device; `held` are its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "Elsewhere":
        made = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=THERE,
        )
        made.held = held
        return made

    def __repr__(self) -> str:
        return f"Elsewhere({self.held})"

    def __deepcopy__(self, memo: object) -> "Elsewhere":
        copy = Elsewhere(self.held.clone()).requires_grad_(self.requires_grad)
        copy._is_param = getattr(self, "_is_param", False)
        return copy

    def __getitem__(self, place: Any) -> Any:
        return super().__getitem__(_listed(place))

    def __setitem__(self, place: Any, value: Any) -> None:
        super().__setitem__(_listed(place), value)

    def tolist(self) -> Any:
        return self.held.tolist()

    def untyped_storage(self) -> Any:
        return self.held.untyped_storage()

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class Draws(torch.Generator):
    """Generators of which those of the device are known: a dispatched one is another object around the same state."""

    there: ClassVar[set[int]] = set()

    def __new__(cls, device: Any = HERE) -> "Draws":
        made = super().__new__(cls, HERE if _there(device) else device)
        (cls.there.add if _there(device) else cls.there.discard)(made._cdata)
        return made


class Values(TorchFunctionMode):
    """Makes tensors of Python values, which torch does below every other mode."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.new_tensor:
            kwargs = {"device": args[0].device, "dtype": args[0].dtype} | kwargs
            func, args = torch.tensor, args[1:]
        if func in (torch.tensor, torch.as_tensor) and _there(kwargs.get("device")):
            learned = kwargs.pop("requires_grad", False)
            return func(*args, **kwargs | {"device": HERE}).to(THERE).requires_grad_(learned)
        return func(*args, **kwargs)


class Device(TorchDispatchMode):
    """While it is entered there is the device, in this thread and in those of pools that it gives work to."""

    def __enter__(self) -> "Device":
        self.values, self.submit, self.draws = Values(), ThreadPoolExecutor.submit, torch.Generator
        torch.Generator = Draws
        if not hasattr(self.submit, "everywhere"):
            ThreadPoolExecutor.submit = _everywhere(self.submit)
        self.values.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.values.__exit__(*error)
        ThreadPoolExecutor.submit, torch.Generator = self.submit, self.draws

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation, on the values that are held, where its tensors are or where it is told to be."""
    tensors = list(_tensors((args, kwargs)))
    away = [one for one in tensors if isinstance(one, Elsewhere)]
    _refuse_mixtures(func, args, tensors, away)
    there = _there(kwargs["device"]) if kwargs.get("device") is not None else bool(away)
    draws = kwargs.get("generator")
    if draws is not None and (draws._cdata in Draws.there) != there:
        raise RuntimeError(f"{func}: the generator is of another device than what it draws")
    if _there(kwargs.get("device")):
        kwargs = kwargs | {"device": HERE} | ({"pin_memory": False} if "pin_memory" in kwargs else {})
    own, told = _bare(args), _bare(kwargs)
    if func is aten.copy_.default:
        own[0].copy_(own[1])
        return args[0]
    if func.name().startswith(
        "aten::_fused_"
    ):  # on a CPU it takes gradients to lie in memory as parameters do
        laid = [torch.empty_like(value).copy_(slope) for value, slope in zip(own[0], own[1], strict=True)]
        own = (own[0], laid, *own[2:])
    out = func(*own, **told)
    if not there:
        return out
    out = _wrapped(out)
    return return_and_correct_aliasing(func, args, kwargs, out) if away else out


def _tensors(held: Any) -> Iterator[Tensor]:
    """Those in nested tuples, lists and dicts, which is all that an operation is given."""
    if isinstance(held, Tensor):
        yield held
    elif isinstance(held, tuple | list):
        for one in held:
            yield from _tensors(one)
    elif isinstance(held, dict):
        yield from _tensors(list(held.values()))


def _bare(held: Any) -> Any:
    if isinstance(held, Elsewhere):
        return held.held
    if isinstance(held, tuple | list):
        return type(held)(map(_bare, held))
    return {name: _bare(one) for name, one in held.items()} if isinstance(held, dict) else held


def _wrapped(held: Any) -> Any:
    if isinstance(held, tuple | list):
        return type(held)(map(_wrapped, held))
    return Elsewhere(held) if isinstance(held, Tensor) and not isinstance(held, Elsewhere) else held


def _refuse_mixtures(func: Any, args: Any, tensors: list[Tensor], away: list[Elsewhere]) -> None:
    if func in INDEXED and away and not isinstance(args[0], Elsewhere):
        raise RuntimeError(f"{func}: an index on {NAME} into a tensor on the CPU")
    here = [tuple(one.shape) for one in tensors if not isinstance(one, Elsewhere) and one.ndim]
    if away and here and func not in COPIES | INDEXED:
        raise RuntimeError(f"{func}: tensors on {NAME} and on the CPU, {here}")


def _there(device: Any) -> bool:
    return torch.device(device or HERE).type == NAME


def _listed(place: Any) -> Any:
    """Lists of numbers in an index as tensors, for torch makes them below every mode."""
    if isinstance(place, tuple):
        return tuple(map(_listed, place))
    return torch.tensor(place) if isinstance(place, list | range) else place


def _everywhere(submit: Callable[..., Any]) -> Callable[..., Any]:
    def submitted(pool: ThreadPoolExecutor, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        def there(*own: Any, **told: Any) -> Any:
            with Device():
                return work(*own, **told)

        return submit(pool, there, *args, **kwargs)

    submitted.everywhere = True
    return submitted

"""A GPU that is not there: tensors that say they are on `cuda:0`, whose numbers lie in the host's memory.

What a GPU refuses is refused: an operation on tensors of both devices, a draw from the other's generator, `.numpy()`. Each time
that the host would wait for the GPU is noted. Torch knows the device as its spare one ("privateuse1"), for which autograd has a
thread of its own, as for a GPU; Python code is told that it is CUDA's. `install` comes before the first backward pass of the
process, which keeps the device to its end. Not shown: kernels, their limits and rounding, streams, memory, several devices.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretended"
CPU, CUDA, SPARE = torch.device("cpu"), torch.device("cuda", 0), torch.device("privateuseone", 0)
CORE = str(Path(__file__).resolve().parents[2] / "core")
aten = torch.ops.aten
# Their results have sizes, or are Python's own numbers, that depend on the numbers in them.
WAIT = {
    aten._local_scalar_dense.default,
    aten._unique2.default,
    aten.bincount.default,
    aten.equal.default,
    aten.masked_select.default,
    aten.nonzero.default,
    aten.repeat_interleave.Tensor,
    aten.unique_dim.default,
}
INDEX = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
COPY = {aten._to_copy.default, aten.copy_.default}
# Beside operations on single numbers, these too take one number from the CPU.
TAKE_ONE = {aten.fill_.Tensor, aten.masked_fill.Tensor, aten.masked_fill_.Tensor, aten.where.self}
# Of autocast on CUDA: what runs in 16 bits, and what in 32.
NARROW = "addbmm addmm addmv baddbmm bmm conv1d conv2d einsum linear matmul mm mv scaled_dot_product_attention"
WIDE = (
    "cumprod cumsum exp expm1 layer_norm log log10 log1p log2 log_softmax.int logsumexp nll_loss norm.Scalar "
    "pow.Tensor_Scalar pow.Tensor_Tensor prod reciprocal rsqrt softmax.int softplus sum sum.dim_IntList"
)

waits: Counter[str] = Counter()
"""Operation and line of burnish -> how often the host waited there for the device."""
_kept: list[Any] = []


class Refused(RuntimeError):
    """What a GPU would not do."""


class Away(Tensor):
    """A tensor on the device. inner: its numbers."""

    inner: Tensor
    device = property(lambda self: CUDA)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, inner: Tensor) -> Away:
        shape: dict[str, Any] = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        made: Any = Tensor._make_wrapper_subclass(cls, inner.shape, device=SPARE, **shape)  # type: ignore[attr-defined]
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(function, args, kwargs or {})

    @property
    def data(self) -> Tensor:  # type: ignore[override]
        """The same without its history; setting it gives the tensor other numbers."""
        return self.detach()

    @data.setter
    def data(self, value: Away) -> None:
        Tensor.data.__set__(self, value)  # type: ignore[attr-defined]
        self.inner = value.inner


class Generator(torch.Generator):
    """A generator of either device."""

    def __new__(cls, device: Any = "cpu") -> Generator:
        made = super().__new__(cls)
        made.away = torch.device(device).type == "cuda"
        return made

    device = property(lambda self: CUDA if self.away else CPU)  # type: ignore[assignment]

    def manual_seed(self, seed: int) -> Generator:
        """Begin anew."""
        super().manual_seed(seed)
        return self


class Operations(TorchDispatchMode):
    """Every operation below autograd."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(function, args, kwargs or {})


class Calls(TorchFunctionMode):
    """Every call of torch's functions and methods: what they call CUDA is the spare device to torch."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is torch.device:
            return function(*args, **kwargs)
        if isinstance(args[0] if args else None, Away) and function in METHODS:
            return METHODS[function](args[0])
        if function is Tensor.pin_memory:
            made = args[0].clone()
            made.pinned = True
            return made
        if function is Tensor.is_pinned:
            return hasattr(args[0], "pinned")
        if function is Tensor.cuda:
            function, args = Tensor.to, (args[0], SPARE)
        args, kwargs = _each(_spare, args), {name: _each(_spare, value) for name, value in kwargs.items()}
        if isinstance(generator := kwargs.get("generator"), torch.Generator):
            away = kwargs.get("device") == SPARE or any(isinstance(one, Away) for one in args)
            if away != getattr(generator, "away", False):
                raise Refused(f"{function} was given a generator of another device")
        if function is torch.tensor and kwargs.get("device") == SPARE:
            return function(*args, **{**kwargs, "device": CPU}).to(SPARE)
        pinned = kwargs.pop("pin_memory", False)
        made = function(*args, **kwargs)
        if pinned:
            made.pinned = True
        return made


def run(function: Any, args: Any, kwargs: Any) -> Any:
    """An operation on either device."""
    tensors = list(_tensors((args, *kwargs.values())))
    away = [one for one in tensors if isinstance(one, Away)]
    asked = kwargs.get("device")
    is_away = bool(away) if asked is None else torch.device(asked).type in ("cuda", NAME)
    if not away and not is_away:
        return function(*args, **kwargs)
    here = [one for one in tensors if not isinstance(one, Away)]
    if away and here and not _goes_together(function, args, here):
        shapes = [f"{'cuda' if isinstance(one, Away) else 'cpu'} {one.dtype} {list(one.shape)}" for one in tensors]
        raise Refused(f"{function} on {', '.join(shapes)}")
    if why := _waits(function, args, kwargs, away, here, is_away):
        waits[f"{why} at {_where()}"] += 1
    inner_args, inner_kwargs = _each(_inner, args), {name: _each(_inner, value) for name, value in kwargs.items()}
    if asked is not None:
        inner_kwargs["device"] = CPU
    for name in ("pin_memory", "non_blocking"):
        inner_kwargs.pop(name, None)
    result = KERNELS.get(function, function)(*inner_args, **inner_kwargs)
    if function is aten.copy_.default and not isinstance(args[0], Away):
        return args[0]
    if not is_away or function is aten._local_scalar_dense.default:
        return result.clone() if function is aten._to_copy.default else result
    result = _each(_away, result)
    return return_and_correct_aliasing(function, args, kwargs, result) if _is_view_or_in_place(function) else result


@cache
def _is_view_or_in_place(function: Any) -> bool:
    return any(argument.alias_info is not None for argument in function._schema.arguments)


def _each(change: Callable[[Any], Any], value: Any) -> Any:
    """What `change` makes of a value, or of all in a list or tuple."""
    if type(value) in (list, tuple):
        return type(value)([_each(change, one) for one in value])
    return change(value)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)


def _inner(leaf: Any) -> Any:
    return leaf.inner if isinstance(leaf, Away) else leaf


def _away(leaf: Any) -> Any:
    return Away(leaf) if isinstance(leaf, Tensor) else leaf


def _goes_together(function: Any, args: Any, here: list[Tensor]) -> bool:
    """Whether an operation takes these tensors of the CPU beside others of the device."""
    if function in COPY:
        return True
    if function in INDEX:
        values = args[2] if len(args) > 2 else args[0]
        return isinstance(args[0], Away) and (isinstance(values, Away) or not values.ndim)
    return all(not one.ndim for one in here) and (torch.Tag.pointwise in function.tags or function in TAKE_ONE)


def _waits(function: Any, args: Any, kwargs: Any, away: list[Away], here: list[Tensor], is_away: bool) -> str:
    """Why the host waits for the device here, if it does."""
    if function in WAIT and kwargs.get("output_size") is None:
        return "" if function is aten.equal.default and args[0] is args[1] else str(function)
    if function in INDEX:
        indices = [one for one in args[1] if one is not None]
        masked = any(one.dtype in (torch.bool, torch.uint8) for one in indices)
        return "a mask as index" if masked else "" if not here else "an index on the CPU"
    if function in COPY:
        in_place = function is aten.copy_.default
        source, to = (args[1], isinstance(args[0], Away)) if in_place else (args[0], is_away)
        if isinstance(source, Away) == to or not source.numel():
            return ""
        freely = args[2:] == (True,) if in_place else kwargs.get("non_blocking", False)
        pinned = hasattr(source if to else args[0], "pinned")
        return "" if freely and pinned else f"a copy to the {'device' if to else 'host'}"
    return ""


def _where() -> str:
    """The line of burnish that is run."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not frame.f_code.co_filename.startswith(CORE):
        frame = frame.f_back
    return "another place" if frame is None else f"{frame.f_code.co_filename.removeprefix(CORE)}:{frame.f_lineno}"


def _spare(leaf: Any) -> Any:
    named = isinstance(leaf, str) and leaf.partition(":")[0] == "cuda"
    return SPARE if named or (isinstance(leaf, torch.device) and leaf.type == "cuda") else leaf


def _listed(tensor: Away) -> Any:
    waits[f"tolist at {_where()}"] += 1
    return tensor.inner.tolist()


def _no_array(tensor: Away) -> Any:
    raise Refused("a tensor on the device has no array")


METHODS = {
    Tensor.tolist: _listed,
    Tensor.numpy: _no_array,
    Tensor.data_ptr: lambda tensor: tensor.inner.data_ptr(),
    Tensor.__repr__: lambda tensor: f"{tensor.inner!r} on {CUDA}",
}


def _attended(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    ends_q: Tensor,
    ends_k: Tensor,
    max_q: int,
    max_k: int,
    is_causal: bool,
    scale: float,
    window: list[int],
    grad: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Flash attention of variable lengths as its definition has it, or the gradients of it. States are [N, H, D]."""
    takes = query.dtype in (torch.float16, torch.bfloat16) and query.shape[-1] % 8 == 0 and query.shape[-1] <= 256
    takes = takes and torch.cuda.get_device_capability() >= (8, 0)
    if not takes or ends_q.dtype != torch.int32 or ends_k.dtype != torch.int32:
        raise Refused(f"flash attention of {query.dtype} {list(query.shape)} with {ends_q.dtype} and {ends_k.dtype}")
    output, gradients = torch.zeros(query.shape), [torch.zeros(one.shape) for one in (query, key, value)]
    for row, column in zip(range(len(ends_q) - 1), range(len(ends_k) - 1), strict=True):
        rows, columns = slice(*ends_q[row : row + 2].tolist()), slice(*ends_k[column : column + 2].tolist())
        q, k, v = (states.transpose(0, 1).float() for states in (query[rows], key[columns], value[columns]))
        num_heads = len(k)
        k, v = (states.repeat_interleave(len(q) // num_heads, 0) for states in (k, v))
        behind = torch.arange(k.shape[1] - q.shape[1], k.shape[1])[:, None] - torch.arange(k.shape[1])
        hidden = (behind < 0) | (behind > (window[0] if window[0] >= 0 else k.shape[1]))
        share = (q @ k.transpose(1, 2) * scale).masked_fill(hidden, -torch.inf).softmax(-1)
        output[rows] = (share @ v).transpose(0, 1)
        if grad is not None:
            g = grad[rows].transpose(0, 1).float()
            slope = g @ v.transpose(1, 2)
            slope = share * (slope - (slope * share).sum(-1, keepdim=True)) * scale
            gradients[0][rows] = (slope @ k).transpose(0, 1)
            for total, one in zip(gradients[1:], (slope.transpose(1, 2) @ q, share.transpose(1, 2) @ g), strict=True):
                total[columns] = one.unflatten(0, (num_heads, -1)).sum(1).transpose(0, 1)
    return (output.to(query.dtype),) if grad is None else tuple(one.to(query.dtype) for one in gradients)


def _flash(query: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    return *_attended(query, *rest[:9]), torch.zeros(query.shape[1], query.shape[0]), torch.zeros(2, dtype=torch.uint64)


def _flash_backward(grad: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    query, key, value, _, _, ends_q, ends_k, max_q, max_k, is_causal, _, scale, window = rest
    return _attended(query, key, value, ends_q, ends_k, max_q, max_k, is_causal, scale, window, grad)


KERNELS: dict[Any, Any] = {}


def _autocast() -> None:
    """Casts like those of CUDA, for which torch leaves the spare device to whoever makes it."""
    own, every = torch.library.Library("aten", "IMPL"), torch.library.Library("_", "IMPL")
    every.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    _kept.extend([own, every])  # what a library registers lives as long as it does
    key = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def cast(leaf: Any, wide: bool) -> Any:
        if not isinstance(leaf, Away) or not leaf.is_floating_point() or leaf.dtype == torch.float64:
            return leaf
        return leaf.to(torch.float32 if wide else torch.get_autocast_dtype("cuda"))

    for names, wide in ((NARROW, False), (WIDE, True)):
        for name in names.split():
            base, _, overload = name.partition(".")
            operation = getattr(getattr(aten, base), overload or "default")

            def kernel(*args: Any, operation: Any = operation, wide: bool = wide, **kwargs: Any) -> Any:
                with torch._C._ExcludeDispatchKeyGuard(key):
                    return operation(
                        *_each(lambda leaf: cast(leaf, wide), args),
                        **{name: cast(value, wide) for name, value in kwargs.items()},
                    )

            own.impl(name, kernel, "AutocastPrivateUse1")
    for name in ("is_autocast_enabled", "set_autocast_enabled", "get_autocast_dtype", "set_autocast_dtype"):
        call = getattr(torch, name)
        setattr(torch, name, lambda *args, call=call: call(*(NAME if one == "cuda" else one for one in args)))


def install() -> None:
    """Give this process the device, for good."""
    import torch.nn.attention.varlen

    _setup_privateuseone_for_python_backend(NAME)
    flash: Any = torch.ops.torch_attn
    KERNELS.update({flash._varlen_attn.default: _flash, flash._varlen_attn_backward.default: _flash_backward})
    torch.__future__.set_swap_module_params_on_conversion(True)  # else a module that moves would get other parameters
    torch.Generator = Generator  # type: ignore[misc]
    _autocast()
    state = {"cuda": torch.arange(16, dtype=torch.uint8)}
    answers: dict[str, Any] = {
        "is_available": True,
        "is_bf16_supported": True,
        "device_count": 1,
        "current_device": 0,
        "set_device": None,
        "empty_cache": None,
        "mem_get_info": (2**33, 2**34),
        "get_device_capability": (9, 0),
        "get_device_name": NAME,
        "manual_seed": None,
        "manual_seed_all": None,
        "_lazy_init": None,
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
    torch.cuda.get_rng_state = lambda *_: state["cuda"].clone()
    torch.cuda.set_rng_state = lambda new, *_: state.update(cuda=new)
    torch.accelerator.is_available = lambda: True
    torch.accelerator.device_count = lambda: 1
    torch.accelerator.current_accelerator = lambda *_, **__: torch.device("cuda")
    run_thread, differentiate = threading.Thread.run, torch.autograd._engine_run_backward

    def run_with_device(thread: threading.Thread) -> None:
        torch._C._set_only_lift_cpu_tensors(True)
        with Operations(), Calls():
            run_thread(thread)

    def differentiate_with_device(*args: Any, **kwargs: Any) -> Any:
        with Calls():  # which torch has put aside, to call `backward`
            return differentiate(*args, **kwargs)

    threading.Thread.run = run_with_device  # type: ignore[method-assign]
    torch.autograd._engine_run_backward = differentiate_with_device
    torch._C._set_only_lift_cpu_tensors(True)  # a list as index becomes a tensor here, and is sent
    for mode in (Operations(), Calls()):
        mode.__enter__()

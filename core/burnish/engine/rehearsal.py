"""Micro-batches rehearsed with tensors that have shapes and no numbers: the memory that training takes, before it is taken.

In: a model, which may lie on `meta`, and the sequences of a micro-batch. Out: bytes. Every operation of the model's own forward
and backward runs, on no data, and the storages that are alive are added up. What kernels use inside themselves is not seen, nor
what an allocator keeps back.
"""

from __future__ import annotations

import copy
import logging
import weakref
from collections.abc import Iterator, Mapping
from collections.abc import Sequence as List
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from burnish.batch.layout import Kind, lay_out
from burnish.data.units import Mask, Sequence
from burnish.model.checkpointing import offloaded
from burnish.model.head import Beside
from burnish.model.recipes import by_recipe
from burnish.model.scorer import Scorer
from burnish.model.signals import Signal, hidden, num_likeliest
from burnish.model.sites import sites_for
from burnish.model.tile import WITHOUT_GRADIENT

if TYPE_CHECKING:
    from burnish.config.sections import TrainSection

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class NotRehearsed(Exception):
    """A model whose shapes depend on numbers, or whose weights are none of torch's own; says what torch said."""


class Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that operations make, for as long as they live.

    known: tensors that are there already and do not count; device: of those that do. now, most: bytes.
    """

    def __init__(self, known: List[Tensor], device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._device = device.type
        self.now, self.most = 0, 0
        self._sizes: dict[int, int] = {tensor.untyped_storage()._cdata: 0 for tensor in known}

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), keywords: Mapping[str, Any] | None = None
    ) -> Any:
        result = function(*arguments, **(keywords or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor) and tensor.device.type == self._device:
                self._count(tensor.untyped_storage())
        self.most = max(self.most, self.now)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self._sizes:
            self._sizes[storage._cdata] = storage.nbytes()
            self.now += storage.nbytes()
            weakref.finalize(storage, self._forget, storage._cdata)

    def _forget(self, place: int) -> None:
        self.now -= self._sizes.pop(place)


def training_bytes(
    model: nn.Module,
    micro: List[tuple[Sequence, Mask]],
    signals: List[Signal],
    kind: Kind,
    section: TrainSection,
    device: torch.device,
    turns: int = 1,
    teacher: nn.Module | None = None,
) -> int:
    """Bytes at the peak of a forward and backward pass beside the weights: activations, logits, gradients.

    micro: sequences and what of them is scored. turns: 2 when gradients of another micro-batch are there already. teacher: the
    model that signals compare with. Raises NotRehearsed.
    """
    try:
        with _quiet(), FakeTensorMode(allow_non_fake_inputs=True):
            policy = Scorer(_shapes(model, device).train(), kind)
            other = None if teacher is None else Scorer(_shapes(teacher, device).eval(), kind)
            there = [tensor for scorer in (policy, other) if scorer is not None for tensor in _tensors(scorer)]
            alive = Alive(there, device)
            with alive:
                for _ in range(turns):
                    _turn(policy, other, micro, tuple(signals), kind, section, device)
            return alive.most
    except Exception as error:  # a model may do anything, and torch has many words for what it cannot do without numbers
        raise NotRehearsed(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}") from error


def _turn(
    policy: Scorer,
    other: Scorer | None,
    micro: List[tuple[Sequence, Mask]],
    signals: tuple[Signal, ...],
    kind: Kind,
    section: TrainSection,
    device: torch.device,
) -> None:
    sequences, masks = [sequence for sequence, _ in micro], [mask for _, mask in micro]
    layout = lay_out(sequences, kind)
    sites = sites_for(layout, masks, num_likeliest(signals)).to(device)
    layout = layout.to(device)
    narrow = AUTOCAST.get(section.precision)
    kept = offloaded(policy.parameters(), device) if section.offload_activations else by_recipe()
    with torch.autocast(device.type, narrow, enabled=narrow is not None), kept:
        beside = Beside(sampled=sites.sampled)
        if other is not None and any(signal.beside == "teacher" for signal in signals):
            with torch.no_grad():
                [states] = other(layout, sites, (hidden(),))
            beside = replace(beside, hidden=states, logits=torch.no_grad()(other.logits))
        values = policy(layout, sites, signals, beside)
    learning = [value.sum() for signal, value in zip(signals, values, strict=True) if signal.name not in WITHOUT_GRADIENT]
    torch.autograd.backward(torch.stack(learning).sum())


def _shapes(model: nn.Module, device: torch.device) -> nn.Module:
    """A copy of `model` on `device`, made within a mode in which tensors have no numbers; tied weights stay tied."""
    made: dict[int, Any] = {}
    for tensor in _tensors(model):
        empty = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
        made[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
    return copy.deepcopy(model, made)


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    return chain(model.parameters(), model.buffers())


@contextmanager
def _quiet() -> Iterator[None]:
    """What has no size without numbers is torch's to raise, not to log."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before

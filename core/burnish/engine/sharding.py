"""Whole tensors from sharded ones and back. Knows only tensors; collective calls, so that every rank must make them alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(values: Mapping[str, Any], keep: bool, host: bool = True) -> dict[str, Any]:
    """`values` with every tensor gathered and detached, one at a time; nothing is kept unless `keep`. host: on the CPU; else
    where it lies."""
    kept = {}
    for name, value in values.items():
        gathered = _whole(value) if isinstance(value, Tensor) else value
        if keep:
            kept[name] = gathered.cpu() if host and isinstance(gathered, Tensor) else gathered
    return kept


def _whole(tensor: Tensor) -> Tensor:
    if isinstance(tensor, DTensor):
        return tensor.full_tensor().detach()
    if hasattr(tensor, "ds_id"):  # partitioned by ZeRO-3
        import deepspeed

        with deepspeed.zero.GatheredParameters([tensor]):
            return tensor.detach().clone()
    return tensor.detach()


def placed_like(value: Tensor, target: Tensor) -> Tensor:
    """`value` (whole, equal on every rank) on the device of `target`, sharded like it where shapes agree; dtype unchanged."""
    value = value.to(target.device)
    if isinstance(target, DTensor) and value.shape == target.shape:
        return distribute_tensor(value, target.device_mesh, target.placements, src_data_rank=None)
    return value


@contextmanager
def unsharded(module: nn.Module) -> Iterator[None]:
    """Within it, what lies in `module` can be called without it: its own parameters are whole, its layers gather theirs.

    `module` must have run once, so that its layers know whose they are.
    """
    if not isinstance(module, FSDPModule):
        yield
        return
    module.unshard()
    try:
        yield
    finally:
        module.reshard()

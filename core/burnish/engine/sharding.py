"""Whole tensors from sharded ones and back. Knows only tensors; collective calls, so that every rank must make them alike."""

from __future__ import annotations

from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def full(tensor: Tensor) -> Tensor:
    """`tensor` as a whole, plain tensor, detached."""
    tensor = tensor.detach()
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def placed_like(value: Tensor, target: Tensor) -> Tensor:
    """`value` (whole, equal on every rank) on the device of `target`, sharded like it where shapes agree; dtype unchanged."""
    value = value.to(target.device)
    if isinstance(target, DTensor) and value.shape == target.shape:
        return distribute_tensor(value, target.device_mesh, target.placements, src_data_rank=None)
    return value

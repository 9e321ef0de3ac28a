"""Weights moved for a while, and then exactly as they were: what the handshake with a backend is made of.

In: a model, maybe sharded. Out: nothing. Every rank must call it alike; replicas move alike, shards each by themselves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from burnish.model.values import is_of_value_head

LEAST = 0.02  # the size of what is added to a tensor of zeros, such as the second factor of a fresh adapter
PERIOD = 65_537  # numbers of noise, over and over, for billions of weights: a prime, so that no two rows of a matrix are alike


def movable(model: nn.Module, adapter: str | None) -> dict[str, Tensor]:
    """The parameters that a perturbation moves: those of one adapter, or all that are sent."""
    every = {name: tensor for name, tensor in model.named_parameters() if not is_of_value_head(name)}
    if adapter is not None:
        every = {name: tensor for name, tensor in every.items() if "lora_" in name and f".{adapter}." in name}
    return {name: tensor for name, tensor in every.items() if tensor.is_floating_point()}


@contextmanager
def perturbing(policy: nn.Module, adapter: str | None, rank: int = 0) -> Iterator[Callable[[float], None]]:
    """Gives a function: called with a scale, it puts seeded noise that is `scale` times as large as its entries on every
    `movable` parameter of `policy`, in place of what it put there before. Afterwards all is as it was."""
    _reshard(policy)  # first: what FSDP has gathered stands in the place of parameters, and is let go of
    parameters = movable(policy, adapter)
    mine = {name: _mine(parameter) for name, parameter in parameters.items()}
    before = {name: shard.to("cpu", copy=True) for name, shard in mine.items()}
    moved = False
    noise = torch.randn(PERIOD, generator=torch.Generator().manual_seed(1))

    def back() -> None:
        _reshard(policy)
        for name, shard in mine.items():
            shard.copy_(before[name])

    def put(scale: float) -> None:
        nonlocal moved
        if moved:
            back()
        moved = True
        for name, shard in mine.items():
            _add(shard, noise.roll(_offset(name, parameters[name], rank)) * scale)

    try:
        yield put
    finally:
        if moved:
            back()


def _reshard(policy: nn.Module) -> None:
    """Let go of what FSDP has gathered and would use again: it was made of the weights before."""
    for module in policy.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def _mine(parameter: Tensor) -> Tensor:
    """The part of a parameter that this rank holds."""
    if isinstance(parameter, DTensor):
        return parameter.to_local().detach()
    shard: Tensor = parameter.ds_tensor if hasattr(parameter, "ds_tensor") else parameter  # partitioned by ZeRO-3
    return shard.detach()


def _offset(name: str, parameter: Tensor, rank: int) -> int:
    """Where in the noise a parameter begins: by its name, and by the rank of those that hold shards."""
    is_shard = isinstance(parameter, DTensor) or hasattr(parameter, "ds_tensor")
    plain = name.replace("_fsdp_wrapped_module.", "").removeprefix("module.")
    seed = hashlib.blake2b(f"{plain}|{rank if is_shard else 0}".encode(), digest_size=6).digest()
    return int.from_bytes(seed) % PERIOD


def _add(shard: Tensor, noise: Tensor) -> None:
    """Add noise of the size of the shard's entries, over and over, without a tensor as large as the shard."""
    if not shard.numel():
        return
    size = float(torch.linalg.vector_norm(shard, dtype=torch.float32)) / shard.numel() ** 0.5
    noise = (noise * (size or LEAST)).to(shard)
    flat = shard.contiguous().view(-1)  # the shard itself, but for one that is transposed
    whole = shard.numel() // PERIOD * PERIOD
    flat[:whole].view(-1, PERIOD).add_(noise)
    flat[whole:].add_(noise[: shard.numel() - whole])
    if not shard.is_contiguous():
        shard.copy_(flat.view(shard.shape))

"""Weights moved for a while, and then exactly as they were: what the handshake with a backend is made of.

In: a model, maybe sharded. Out: nothing. Every rank must call it alike; replicas move alike, shards each by themselves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from burnish.model.values import is_of_value_head

LEAST = 0.02  # the size of what is added to a tensor of zeros, such as the second factor of a fresh adapter


def movable(model: nn.Module, adapter: str | None) -> dict[str, Tensor]:
    """The parameters that a perturbation moves: those of one adapter, or all that are sent."""
    every = {name: tensor for name, tensor in model.named_parameters() if not is_of_value_head(name)}
    if adapter is not None:
        every = {name: tensor for name, tensor in every.items() if "lora_" in name and f".{adapter}." in name}
    return {name: tensor for name, tensor in every.items() if tensor.is_floating_point()}


@contextmanager
def perturbed(policy: nn.Module, adapter: str | None, scale: float, rank: int = 0) -> Iterator[None]:
    """Within it, seeded noise is on every `movable` parameter of `policy`: `scale` times as large as its entries."""
    _reshard(policy)  # first: what FSDP has gathered stands in the place of parameters, and is let go of
    parameters = movable(policy, adapter)
    mine = {name: _mine(parameter) for name, parameter in parameters.items()}
    before = {name: shard.detach().to("cpu", copy=True) for name, shard in mine.items()}
    try:
        with torch.no_grad():
            for name, shard in mine.items():
                shard.add_(_noise(name, parameters[name], shard, rank) * scale)
        yield
    finally:
        _reshard(policy)
        with torch.no_grad():
            for name, shard in mine.items():
                shard.copy_(before[name])


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


def _noise(name: str, parameter: Tensor, shard: Tensor, rank: int) -> Tensor:
    """Normal, as large as the shard's entries. The name is the seed, and the rank of those that hold shards."""
    is_shard = isinstance(parameter, DTensor) or hasattr(parameter, "ds_tensor")
    plain = name.replace("_fsdp_wrapped_module.", "").removeprefix("module.")
    seed = hashlib.blake2b(f"{plain}|{rank if is_shard else 0}".encode(), digest_size=6).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(seed))
    noise = torch.randn(shard.shape, generator=generator)
    size = float(shard.float().square().mean().sqrt()) if shard.numel() else 0.0
    return (noise * (size or LEAST)).to(shard)

"""One of several processes of a run. Imported by child processes of the tests, hence a module of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

import burnish.engine.loop as loop
from burnish.api import train
from burnish.engine.run import Run
from burnish.engine.sharding import whole

FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
}


class Inspector:
    """Asserts, when a run starts, that its weights really are sharded into one unit per layer and the rest."""

    def run_started(self, run: Run) -> None:
        policy = run.runner.roles.policy
        assert run.accelerator.is_fsdp2
        units = [name for name, module in policy.named_modules() if isinstance(module, FSDPModule)]
        assert [name.rpartition(".")[2] for name in units] == ["", "0", "1"], units
        for name, parameter in policy.named_parameters():
            assert isinstance(parameter, DTensor), name
            assert parameter.to_local().numel() < parameter.numel() or not parameter.to_local().numel(), name


def train_rank(
    rank: int, world: int, port: int, fsdp: bool, folder: str, config: dict[str, Any], options: dict[str, Any]
) -> None:
    """Train as process `rank` of `world`; the gradient of every step is written to `folder`."""
    if world > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), **(FSDP if fsdp else {})}
    clip = loop.clip

    def keep(run: Run) -> float:
        norm = clip(run)
        found = whole({name: parameter.grad for name, parameter in run.trained.parameters.items()}, keep=True)
        if rank == 0:
            save_file({name: gradient.clone() for name, gradient in found.items()}, Path(folder) / f"{run.state.step}")
        return norm

    loop.clip = keep
    train(config, observers=[Inspector()] if fsdp else [], **options)

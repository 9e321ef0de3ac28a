"""Processes and devices: the one place that makes an Accelerator. Knows nothing of objectives or data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

if TYPE_CHECKING:
    from burnish.config.sections import TrainSection

MIXED = {"float32": "no", "bf16": "bf16", "pure_bf16": "no", "fp16": "fp16"}


def make_accelerator(section: TrainSection, trackers: Sequence[str], output: Path) -> Accelerator:
    """The processes that a launcher started, or this one alone; on CPUs when there is nothing else."""
    on_cpu = not torch.accelerator.is_available()
    mixed_precision = MIXED[section.precision]
    if AcceleratorState._shared_state:
        # A second run in one process may want another precision; the process group stays.
        AcceleratorState._reset_state()
    accelerator = Accelerator(
        cpu=on_cpu, mixed_precision=mixed_precision, log_with=list(trackers) or None, project_dir=output if trackers else None
    )
    if on_cpu and os.environ.get("ACCELERATE_USE_FSDP") == "true" and accelerator.num_processes > 1:
        # Accelerate turns FSDP on for GPUs only; gloo can do it as well.
        accelerator.state.distributed_type = DistributedType.FSDP
        accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()
        if mixed_precision != "no":
            accelerator.state.fsdp_plugin.set_mixed_precision(mixed_precision)
    if on_cpu and mixed_precision == "fp16":
        # Accelerate leaves fp16 off on CPUs without a word; autocast and loss scaling work there too.
        accelerator.scaler, accelerator.native_amp = torch.amp.GradScaler("cpu"), True
    return accelerator


def launch_warning() -> str | None:
    """A sentence when the launcher was asked for several CPU processes and started one."""
    alone = PartialState().num_processes == 1
    if alone and os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true" and "MASTER_PORT" in os.environ:
        return (
            "accelerate launch --cpu starts several processes only through MPI, so this run has one process. "
            "For N processes on CPUs: accelerate launch --multi_gpu --num_processes N ... (gloo is used where there is no GPU)."
        )
    return None

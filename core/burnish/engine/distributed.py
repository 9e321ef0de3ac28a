"""Processes and devices: the one place that makes an Accelerator. Knows nothing of objectives or data."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin, broadcast_object_list
from torch import nn

from burnish.engine.tracking import check_trackers
from burnish.errors import BurnishError, ConfigError

if TYPE_CHECKING:
    from burnish.config.sections import CheckpointSection, ReferenceSection, TrainSection, ValueSection

T = TypeVar("T")

MIXED = {"float32": "no", "bf16": "bf16", "pure_bf16": "no", "fp16": "fp16"}


def make_accelerator(section: TrainSection, trackers: Sequence[str], output: Path) -> Accelerator:
    """The processes that a launcher started, or this one alone; on CPUs when there is nothing else."""
    check_trackers(trackers)
    on_cpu = not torch.accelerator.is_available()
    if on_cpu and section.offload_activations:
        raise ConfigError("train.offload_activations: without a GPU activations lie in the host's memory already; drop it")
    mixed_precision = MIXED[section.precision]
    if AcceleratorState._shared_state:
        # A second run in one process may want another precision; the process group stays.
        AcceleratorState._reset_state()
    accelerator = Accelerator(
        cpu=on_cpu, mixed_precision=mixed_precision, log_with=list(trackers) or None, project_dir=output if trackers else None
    )
    if on_cpu and os.environ.get("ACCELERATE_USE_FSDP") == "true" and accelerator.num_processes > 1:
        # Accelerate turns FSDP on for GPUs only; gloo can do it as well.
        accelerator.state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()
        if mixed_precision != "no":
            accelerator.state.fsdp_plugin.set_mixed_precision(mixed_precision)
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        from transformers.integrations import unset_hf_deepspeed_config

        unset_hf_deepspeed_config()  # models are loaded whole, checked, then partitioned
        # Sizes of micro-batches are the planner's business; clipping happens inside DeepSpeed's backward.
        accelerator.state.deepspeed_plugin.deepspeed_config |= {
            "train_micro_batch_size_per_gpu": 1,
            "gradient_clipping": section.clip or 0.0,
        }
    if on_cpu and mixed_precision == "fp16":
        # Accelerate leaves fp16 off on CPUs without a word; autocast and loss scaling work there too.
        accelerator.scaler, accelerator.native_amp = torch.amp.GradScaler("cpu"), True
    return accelerator


@contextmanager
def accumulating(accelerator: Accelerator, policy: nn.Module) -> Iterator[None]:
    """Within it, backward passes only add to gradients: nothing is exchanged, and DeepSpeed makes no update."""
    accelerator.gradient_state._set_sync_gradients(False)
    try:
        with accelerator.no_sync(policy):
            yield
    finally:
        accelerator.gradient_state._set_sync_gradients(True)


def on_first(accelerator: Accelerator, action: Callable[[], T]) -> T:
    """What `action` returns on the first process, on every one; a `BurnishError` there ends all, the others without a word."""
    outcome: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            outcome = [action(), None]
        except BurnishError as error:
            outcome = [None, error]
    if accelerator.num_processes > 1:
        broadcast_object_list(outcome)
    result, failure = outcome
    if failure is not None:
        raise failure if accelerator.is_main_process else SystemExit(2)
    return result  # type: ignore[no-any-return]


def check_saving(section: CheckpointSection, accelerator: Accelerator) -> None:
    """Refuse checkpoints under DeepSpeed, which would pickle them."""
    if accelerator.distributed_type == DistributedType.DEEPSPEED and (section.every or section.best):
        raise ConfigError(
            "checkpoint: DeepSpeed would pickle its state, so `every` must be null and `best` false; or use FSDP2"
        )


def check_sync(section: ReferenceSection, accelerator: Accelerator) -> None:
    """Refuse a reference that follows a policy whose weights are sharded."""
    if section.sync is not None and accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        raise ConfigError(
            f"reference.sync: the weights that the reference would follow are sharded ({accelerator.distributed_type.value}); "
            "train with DDP, or drop `sync`"
        )


def check_critic(section: ValueSection, accelerator: Accelerator) -> None:
    """Refuse a critic of its own beside a policy whose weights are sharded, which has never been tried."""
    if section.model != "shared" and accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        raise ConfigError(
            f"value.model: a critic beside sharded weights ({accelerator.distributed_type.value}) is not supported; train with "
            "DDP, or use `shared`"
        )


def precision_warning(section: TrainSection) -> str | None:
    """A sentence when products in bfloat16 are wanted of a CPU that makes them a number at a time."""
    if "bf16" not in section.precision or torch.accelerator.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return None
    return (
        f"train.precision is {section.precision}, and this processor has no instructions for products in bfloat16: they take "
        "many times as long as in float32. Train in float32 here."
    )


def launch_warning() -> str | None:
    """A sentence when the launcher was asked for several CPU processes and started one."""
    alone = PartialState().num_processes == 1
    if alone and os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true" and "MASTER_PORT" in os.environ:
        return (
            "accelerate launch --cpu starts several processes only through MPI, so this run has one process. "
            "For N processes on CPUs: accelerate launch --multi_gpu --num_processes N ... (gloo is used where there is no GPU)."
        )
    return None

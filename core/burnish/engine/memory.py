"""The memory that a run needs, by part, told before any weights are read.

In: models on `meta`, real batches, a checked config. Out: bytes. What a step takes is rehearsed with its largest micro-batch;
where a model cannot be rehearsed, estimated from its sizes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]
import torch
from torch import nn

from burnish.batch.layout import Kind
from burnish.config import Config
from burnish.data.units import Mask, Sequence, Unit
from burnish.engine.budget import rough_bytes
from burnish.engine.optim import build_optimizer
from burnish.engine.rehearsal import NotRehearsed, training_bytes
from burnish.engine.step import canonical, micro_batches
from burnish.model.signals import logp
from burnish.objective.compose import Objective, live_masks
from burnish.objective.prepass import open_parts

if TYPE_CHECKING:
    from burnish.config.sections import OptimizerSection

PROBE_SIDE = 64
# On a CPU: libraries that only training loads. Fitted: the mean of the first six runs of tests/benchmarks/memory_prediction.py,
# where it was 32 to 129 MB. Nothing is added for what a C library keeps back.
BESIDE_BYTES = 85_000_000
Micro = list[tuple[Sequence, Mask]]


def standing_bytes(
    model: nn.Module, frozen: Iterable[nn.Module], config: Config, device: torch.device
) -> dict[str, int]:
    """What is there before and after a step: weights, models beside them, the optimiser's state."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return {
        "weights": num_bytes(model.parameters()),
        "frozen models": sum(num_bytes(other.parameters()) for other in frozen),
        "averages of the reference": _averages_bytes(config, trained),
        "optimiser": state_bytes(config.optimizer, model, device),
    }


def state_bytes(section: OptimizerSection, model: nn.Module, device: torch.device) -> int:
    """The optimiser's state for all that is trained of `model`, beside which it lies."""
    if section.offload:
        return 0
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return int(sum(one.numel() for one in trained) * optimizer_bytes(section, trained[0].dtype, device)) if trained else 0


def step_bytes(
    model: nn.Module,
    largest: Micro,
    turns: int,
    objective: Objective | None,
    config: Config,
    kind: Kind,
    device: torch.device,
    teacher: nn.Module | None = None,
) -> tuple[dict[str, int], str | None]:
    """Gradients and activations at the peak of a step, and why they are only an estimate, None when they were rehearsed.

    largest: its largest micro-batch; turns: 2 where there is more than one.
    """
    signals = (logp(),) if objective is None else objective.signals("policy")
    gradients = num_bytes(parameter for parameter in model.parameters() if parameter.requires_grad)
    try:
        peak, why = training_bytes(model, largest, signals, kind, config.train, device, turns, teacher), None
    except NotRehearsed as error:
        num_tokens = sum(len(sequence) for sequence, _ in largest)
        peak, why = rough_bytes(model, config, num_tokens, device), f"estimated roughly ({error})"
    return {"gradients": gradients, "activations": max(peak - gradients, 0)}, why


def largest_micro_batch(
    batches: Iterable[list[Unit]], objective: Objective | None, budget: int, kind: Kind
) -> tuple[Micro, int]:
    """The micro-batch of most tokens, what of it is scored; and 2 where it has another one before or behind it, else 1."""
    largest: Micro = []
    most, turns = -1, 1
    for units in batches:
        ordered, _ = canonical(units)
        if objective is None:
            read = [(one, _every(one)) for unit in ordered for one in unit.sequences]
        else:
            read = live_masks(open_parts(objective, ordered), ordered)
        [micros] = micro_batches(ordered, read, budget, kind)
        masks = {id(sequence): mask for sequence, mask in read}
        for micro in micros:
            if micro.num_tokens > most:
                most, turns = micro.num_tokens, min(len(micros), 2)
                largest = [(one, masks[id(one)]) for unit in micro.units for one in unit.sequences if id(one) in masks]
    return largest, turns


def _every(sequence: Sequence) -> Mask:
    """All targets that anything could score."""
    [first, *others] = sequence.masks.values()
    for mask in others:
        first = first | mask
    return first


def resident_bytes(device: torch.device) -> int:
    """What a process that trains holds beside tensors: Python, libraries, data as here. Nothing that counts on a GPU."""
    resident: int = psutil.Process().memory_info().rss
    return 0 if device.type == "cuda" else resident + BESIDE_BYTES


def num_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Of all together."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def optimizer_bytes(section: OptimizerSection, dtype: torch.dtype, device: torch.device) -> float:
    """Bytes of optimiser state per trained parameter, measured on one small matrix."""
    parameter = nn.Parameter(torch.zeros(PROBE_SIDE, PROBE_SIDE, dtype=dtype, device=device))
    optimizer = build_optimizer(section, [("probe", parameter)])
    parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    values = (value for value in optimizer.state[parameter].values() if isinstance(value, torch.Tensor) and value.ndim)
    return num_bytes(values) / parameter.numel()


def _averages_bytes(config: Config, trained: list[nn.Parameter]) -> int:
    """What a moving reference has beside a frozen copy of the whole model: with an adapter its copy, and float32 averages."""
    sync = config.reference.sync
    if sync is None:
        return 0
    wide = sum(max(parameter.element_size(), 4) * parameter.numel() for parameter in trained)
    narrow = any(parameter.element_size() < 4 for parameter in trained)
    copies = num_bytes(trained) if config.model.adapter else 0
    return copies + wide * (2 if sync.bema else int(narrow))

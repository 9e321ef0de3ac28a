"""How many tokens a micro-batch may forward: what fits in memory, and no more than helps speed.

In: what a micro-batch costs, and the memory there is. Out: a number, resolved once and written into the run. Losses and
gradients do not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as List
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
import torch
from torch import nn

from burnish.batch.layout import Kind
from burnish.batch.plan import plan
from burnish.config import Config
from burnish.data.units import Sequence, Unit
from burnish.engine.rehearsal import NotRehearsed, training_bytes
from burnish.model.linear_head import logit_bytes
from burnish.model.scorer import base_of, head_of
from burnish.model.signals import Signal

# Beyond these, larger matrix products are no faster. On a CPU the later ones are for data whose shared prefixes are so long
# that small micro-batches would forward them again and again.
CEILINGS = {"cpu": (1024, 2048, 4096), "cuda": (16384,)}
# Tokens beside those of the largest ceiling that a smaller one may cost.
REPEATED = 0.1
FLOOR = 256
# Share of the free memory that a run may take in all; the rest is for workspaces, fragmentation and other programs.
SHARE = 0.7
# Where the rough estimate says that the ceiling fits so many times, nothing is rehearsed.
CLEARLY = 2
CGROUP = Path("/sys/fs/cgroup")


def choose_budget(
    model: nn.Module,
    signals: tuple[Signal, ...],
    kind: Kind,
    config: Config,
    room: int,
    device: torch.device,
    batch: List[Unit] = (),
) -> int:
    """The largest budget of which a step fits into `room` bytes, which weights and optimiser have left; and no larger than
    helps speed. batch: of the data, to see what its units share."""
    ceiling, room = ceiling_for(batch, kind, device), int(SHARE * room)

    def rough(num_tokens: int) -> int:
        return rough_bytes(model, config, num_tokens, device)

    if rough(ceiling) * CLEARLY <= room:
        return ceiling

    def rehearsed(num_tokens: int) -> int:
        ids = np.zeros(min(num_tokens, config.render.max_length), np.int64)
        one = Sequence(ids, {}), np.arange(len(ids)) > 0
        many = [one] * max(num_tokens // len(ids), 1)
        return training_bytes(model, many, signals, "padded" if kind == "padded" else "packed", config.train, device)

    try:
        return fitting(rehearsed, room, ceiling)
    except NotRehearsed:
        return fitting(rough, room, ceiling)


def ceiling_for(batch: List[Unit], kind: Kind, device: torch.device) -> int:
    """Tokens of a micro-batch beyond which `batch` is not forwarded faster."""
    ceilings = CEILINGS.get(device.type, CEILINGS["cuda"])
    if len(ceilings) == 1 or not batch:
        return ceilings[0]
    tokens = [sum(micro.num_tokens for micro in plan(batch, budget, kind)[0]) for budget in ceilings]
    return next(budget for budget, cost in zip(ceilings, tokens, strict=True) if cost <= (1 + REPEATED) * tokens[-1])


def fitting(cost: Callable[[int], int], room: int, ceiling: int) -> int:
    """Tokens that cost at most `room` bytes, by a straight line through two costs; between FLOOR and `ceiling`."""
    first, second = cost(FLOOR), cost(2 * FLOOR)
    slope = max((second - first) / FLOOR, 1.0)
    return max(FLOOR, min(int(FLOOR + (room - first) / slope), ceiling))


def rough_bytes(model: nn.Module, config: Config, num_tokens: int, device: torch.device) -> int:
    """What a micro-batch takes at its peak beside the weights, from the model's sizes alone: activations, logits, gradients."""
    element_bytes = 4 if config.train.precision == "float32" else 2
    shape = base_of(model).config.get_text_config()
    activations = num_tokens * activation_bytes(shape, element_bytes, bool(config.train.gradient_checkpointing))
    gradients = sum(one.numel() * one.element_size() for one in model.parameters() if one.requires_grad)
    return activations + logit_bytes(head_of(model), num_tokens, element_bytes, device) + gradients


def activation_bytes(config: Any, element_bytes: int, checkpointing: bool) -> int:
    """Bytes that one forwarded token keeps for the backward pass of a transformer, roughly.

    A layer keeps about 12 vectors of the hidden size (norms, projections, residuals) and 4 of the feed-forward size; with
    gradient checkpointing only its input, and one layer at a time in full.
    """
    hidden: int = config.hidden_size
    layers: int = config.num_hidden_layers
    feed_forward: int = getattr(config, "intermediate_size", None) or 4 * hidden
    layer = (12 * hidden + 4 * feed_forward) * element_bytes
    return layer + layers * hidden * element_bytes if checkpointing else layers * layer


def free_bytes(device: torch.device) -> int:
    """Memory that can be had on `device` now: free or reclaimable, and within the limit of this container."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    available: int = psutil.virtual_memory().available
    return int(min(available, _container_bytes(CGROUP)))


def _container_bytes(folder: Path) -> float:
    """What a container's limit (cgroup v2) leaves, pages of files given back; infinite without a limit."""
    try:
        limit, used = (folder / "memory.max").read_text().strip(), (folder / "memory.current").read_text()
        [cached] = [line.split()[1] for line in (folder / "memory.stat").read_text().splitlines() if line.startswith("file ")]
    except (OSError, ValueError):
        return float("inf")
    return float("inf") if limit == "max" else int(limit) - int(used) + int(cached)

"""How many tokens a micro-batch may forward: what fits in memory, and no more than helps speed.

In: a model's config and the memory there is. Out: a number, resolved once and written into the run. Losses and gradients do not
depend on it.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn

# Beyond these, larger matrix products are no faster.
CEILING = {"cpu": 2048, "cuda": 16384}
FLOOR = 256
# Share of the free memory that activations may take; the rest is for workspaces and fragmentation.
SHARE = 0.4
# Gradient and two moments of a trained parameter.
STATE_BYTES = 12


def choose_budget(model: nn.Module, config: Any, precision: str, checkpointing: bool, device: torch.device) -> int:
    """Tokens that fit: `config` is the model's transformers config; `model` is on `device` and has no gradient yet."""
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    free = free_bytes(device) - trained * STATE_BYTES
    element_bytes = 4 if precision == "float32" else 2
    fitting = int(SHARE * free / activation_bytes(config.get_text_config(), element_bytes, checkpointing))
    return max(FLOOR, min(fitting, CEILING.get(device.type, CEILING["cuda"])))


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
    """Memory that is free on `device` now."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

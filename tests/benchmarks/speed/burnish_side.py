"""A case run by burnish, through its public `train`."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.benchmarks.speed.cases import Case, Row
from tests.benchmarks.speed.measuring import Clock, matrix_rate, report
from torch._dynamo.utils import counters

import burnish
from burnish.batch.trie import canonical_order, common_prefix
from burnish.data.units import Sequence, Unit
from burnish.model.scorer import base_of

VARIANTS: dict[str, dict[str, Any]] = {
    "packed": {"layout": "packed"},
    "compile": {"kernels": ["compile"]},
    "liger": {"kernels": ["liger"]},
}
"""burnish otherwise: what of its section `model` differs."""


class Watch:
    """An observer that measures, and counts what a step must compute."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.clock, self.rates = Clock(), [matrix_rate(dtype)]
        self.losses: list[float] = []
        self.graphs: list[int] = []  # compiled so far, after each step
        self.work: dict[str, Any] = {}

    def run_started(self, run: Any) -> None:
        """All is loaded."""
        units, _ = next(run.data.units(run.state.cursor))
        self.work = work(units, run.model)
        self.run = run
        self.clock.start()

    def step_finished(self, run: Any, step: Any) -> None:
        """A step is over."""
        self.clock.tick()
        self.losses.append(step.metrics["loss"])
        self.graphs.append(counters["stats"]["unique_graphs"])


def run(
    case: Case, rows: list[Row], model: Path, steps: int, adapter: bool, dtype: str, variant: str = ""
) -> dict[str, Any]:
    """Measure `steps` steps after one to warm up; variant: one of `VARIANTS`, or burnish as it is."""
    torch_dtype = torch.bfloat16 if dtype == "bf16" else torch.float32
    watch = Watch(torch_dtype)
    with tempfile.TemporaryDirectory() as folder:
        lora = {"adapter": {"lora": {"r": 16, "alpha": 32}}} if adapter else {}
        config: dict[str, Any] = {
            "model": {"name": str(model), **lora, **VARIANTS.get(variant, {})},
            "reference": {"cache": case.warm},
            "render": {"max_length": case.max_length, "cache": False},
            "objective": [case.objective],
            "train": {"batch_size": case.batch_size, "steps": steps + 1, "precision": dtype},
            "optimizer": {"lr": 1e-6},
            "schedule": {"name": "constant"},
            "output": folder + "/run",
        }
        burnish.train(config, data=rows, observers=[watch])
    rates = [*watch.rates, matrix_rate(torch_dtype)]
    further = {"work": watch.work, "graphs": watch.graphs, "layout": watch.run.config.model.layout}
    return report(watch.clock, rates, watch.run.model, watch.losses, **further)


def work(units: list[Unit], model: torch.nn.Module) -> dict[str, Any]:
    """Tokens of a step and floating-point operations of one forward, with every sequence by itself and with shared prefixes.

    Operations: two per weight of a layer and token, 4 D per head, layer and key that a query sees, two per weight of the head
    and scored token.
    """
    sequences = [sequence for unit in units for sequence in unit.sequences]
    shape = base_of(model).config.get_text_config()
    heads, layers = shape.num_attention_heads, shape.num_hidden_layers
    width = getattr(shape, "head_dim", None) or shape.hidden_size // heads
    inner = {name: one.numel() for name, one in model.named_parameters() if ".layers." in name and one.ndim == 2}
    weights = sum(size for name, size in inner.items() if "lora_" not in name)
    head = shape.hidden_size * (1 if hasattr(base_of(model), "score") else shape.vocab_size)
    found: dict[str, Any] = {"rows": len(units), "sequences": len(sequences)}
    for name, shared in (("plain", np.zeros(len(sequences), np.int64)), ("shared", _shared(sequences))):
        order = canonical_order(sequences)
        tokens = keys = targets = 0
        for place, index in enumerate(order):
            sequence, start = sequences[index], int(shared[place])
            tokens += len(sequence) - start
            keys += (len(sequence) * (len(sequence) + 1) - start * (start + 1)) // 2
            targets += int(sequence.masks["completion"][start:].sum()) if "completion" in sequence.masks else 1
        operations = 2 * weights * tokens + 4 * layers * heads * width * keys + 2 * head * targets
        found[name] = {"tokens": tokens, "targets": targets, "operations": operations}
    return found


def _shared(sequences: list[Sequence]) -> np.ndarray[Any, np.dtype[np.int64]]:
    ordered = [sequences[index] for index in canonical_order(sequences)]
    return np.array([0, *(common_prefix(one, other) for one, other in pairwise(ordered))])

"""Tiny runs: rows, configs, and what a run has written, read back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

PAIRS = [
    {"prompt": f"{a} + {b} =", "chosen": f" {a + b}", "rejected": f" {a + b + 1}"} for a in range(1, 7) for b in range(1, 5)
]
TEXTS = [{"prompt": f"twice {a} is", "completion": f" {2 * a}"} for a in range(20)]
LORA = {"lora": {"r": 4, "alpha": 8}}

MakeConfig = Callable[..., dict[str, Any]]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`changes` over `base`; mappings are merged, all else is replaced."""
    result = dict(base)
    for key, value in changes.items():
        below = base.get(key)
        result[key] = merged(below, value) if isinstance(value, dict) and isinstance(below, dict) else value
    return result


def weights(run: Path) -> dict[str, Tensor]:
    """The weights that a run has written, full or of its adapter."""
    (file,) = (run / "model").glob("*model.safetensors")
    tensors: dict[str, Tensor] = load_file(file)
    return tensors


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    """Equal, bit for bit."""
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def ledger(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without what the clock says."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "tokens_per_s"} for line in lines]

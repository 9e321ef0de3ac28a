"""The mutants of a sample of losses are found; the table of all is docs/results/mutants.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from burnish.registry import LossRecord, load
from burnish.registry.custom import import_custom

PROGRAM = "tests/benchmarks/loss_mutants.py"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simpo", "kto"])
def test_mutants_of_a_loss_are_found(name: str, root: Path) -> None:
    try_loss: Any = import_custom(f"{root / PROGRAM}:try_loss")
    registry = load(run_code=True)
    tried = try_loss(registry.get(LossRecord, name), registry, most=12)
    assert tried.total >= 10
    assert tried.by_kit + tried.by_tests >= 0.95 * tried.total, tried.survivors

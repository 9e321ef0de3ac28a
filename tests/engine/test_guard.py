"""What broke, who broke it, and when the run ends."""

from __future__ import annotations

import math

import numpy as np
import pytest

from burnish.data.units import Sequence, Unit
from burnish.engine.guard import Guard, blame, breakage
from burnish.errors import RunError


def unit(row: int) -> Unit:
    ids = np.array([1, row])
    return Unit("text", (Sequence(ids, {"completion": np.array([False, True])}),), source="main", row=row)


def test_breakage_names_the_part() -> None:
    assert breakage({"dpo": 0.5, "sft": 1.0}, 1.5, 2.0) is None
    assert breakage({"dpo": math.nan, "sft": 1.0}, math.nan, math.nan) == "the loss part 'dpo' (nan)"
    assert breakage({"dpo": 0.5}, 0.5, math.inf) == "the gradient (inf)"


def test_blame_names_rows() -> None:
    units = [unit(row) for row in range(4)]
    assert blame(units, lambda one: one.row != 2) == "main row 2"
    assert "as a whole" in blame(units, lambda one: True)
    assert blame(units, lambda one: False).startswith("every one of the 4 examples")


def test_stops_after_max_in_a_row() -> None:
    guard = Guard(max_skipped=2)
    assert "1 in a row" in guard.skip(7, "the loss (nan)", "main row 3")
    guard.passed()
    guard.skip(9, "the loss (nan)", "main row 3")
    with pytest.raises(RunError, match=r"step 10: the loss \(nan\).*main row 5.*the run stops"):
        guard.skip(10, "the loss (nan)", "main row 5")

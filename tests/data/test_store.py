"""Units come back from Arrow bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.data.store import SCHEMA, Units, to_batch
from burnish.data.units import Sequence, Unit


@st.composite
def sequences(draw: Any) -> Sequence:
    length = draw(st.integers(1, 20))
    ids = np.array(draw(st.lists(st.integers(0, 2**31 - 1), min_size=length, max_size=length)), dtype=np.int64)
    mask = np.array([False, *draw(st.lists(st.booleans(), min_size=length - 1, max_size=length - 1))])
    numbers = draw(st.lists(st.floats(width=32, allow_nan=False), min_size=length, max_size=length))
    role, scalars = draw(st.sampled_from(["main", "chosen"])), draw(st.dictionaries(st.text(), st.floats(allow_nan=False)))
    return Sequence(
        ids,
        {"completion": mask, "all": ~mask & (np.arange(length) > 0)},
        role,
        {"old": np.array(numbers, dtype=np.float32), "several": np.outer(numbers, [1, -1, 0.5]).astype(np.float32)},
        scalars,
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(sequences(), min_size=1, max_size=3), min_size=1, max_size=4), st.floats(0, 1))
def test_units_survive_the_table(groups: list[list[Sequence]], weight: float) -> None:
    units = [Unit("preference", tuple(group), "main", {"weight": weight}, row) for row, group in enumerate(groups)]
    table = pa.Table.from_batches([to_batch([unit], [0.5]) for unit in units], SCHEMA)
    back = Units(table, "main", np.arange(len(units)))
    assert [unit.id for unit in back] == [unit.id for unit in units]
    assert [unit.row for unit in back] == [unit.row for unit in units]
    assert [one.tokens["several"].shape for unit in back for one in unit.sequences] == [
        (len(one), 3) for unit in units for one in unit.sequences
    ]
    assert back.column("num_tokens").tolist() == [sum(map(len, group)) for group in groups]
    assert [unit.id for unit in back[1:]] == [unit.id for unit in units[1:]]


def test_the_source_is_the_readers_not_the_tables() -> None:
    unit = Unit("text", (Sequence(np.array([1, 2]), {"completion": np.array([False, True])}),), "main")
    (back,) = Units(pa.Table.from_batches([to_batch([unit], [0.0])], SCHEMA), "other", np.arange(1))
    assert back.source == "other"

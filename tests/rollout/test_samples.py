"""Completions for people: the table, and the file that pandas and `datasets` read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from played import trajectory
from rich.console import Console, RenderableType

from burnish.config.sections import SamplesSection
from burnish.rollout.samples import Samples
from burnish.rollout.trajectory import Trajectory
from burnish.testing import tiny_tokenizer

TOKENIZER = tiny_tokenizer(chat=False)


def rollout() -> list[Trajectory]:
    good = replace(trajectory(0, 0, TOKENIZER("[b]four")["input_ids"]), rewards={"right": 1.0}, reward=1.0)
    good = good.with_tokens(advantages=np.where(good.own, 0.5, 0.0).astype(np.float32))
    bad = replace(trajectory(0, 1, TOKENIZER("five")["input_ids"]), outcome="reward_error", error="Traceback: no")
    return [replace(bad, columns={"parsed": None}), replace(good, columns={"parsed": "4"})]


def run(section: SamplesSection, folder: Path, numbers: Sequence[int] = (0,)) -> list[RenderableType]:
    printed: list[RenderableType] = []
    samples = Samples(section, folder, TOKENIZER, printed.append)
    for number in numbers:
        samples(number, rollout())
    return printed


def test_the_table_shows_texts_rewards_and_outcomes(tmp_path: Path) -> None:
    [table] = run(SamplesSection(show=2), tmp_path)
    console = Console(width=160, record=True, file=(tmp_path / "out").open("w"))
    console.print(table, markup=False)
    text = console.export_text()
    assert all(word in text for word in ("rollout batch 0", "[b]four", "five", "right", "0.5", "reward_error"))
    assert not [*tmp_path.glob("*.parquet")]


def test_all_completions_are_kept_with_what_rewards_logged(tmp_path: Path) -> None:
    assert run(SamplesSection(keep=True, every=2), tmp_path / "samples", numbers=(0, 1, 2)) == []
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == ["000000.parquet", "000002.parquet"]
    good, bad = pq.read_table(tmp_path / "samples/000000.parquet").to_pylist()
    assert (good["completion"], good["reward"], good["advantage"]) == ("[b]four", 1.0, 0.5)
    assert (good["rewards/right"], good["parsed"], good["error"]) == (1.0, "4", None)
    assert (bad["outcome"], bad["reward"], bad["error"]) == ("reward_error", None, "Traceback: no")


@pytest.mark.parametrize("values", [[1, "a"], [{"x": 1}, [2]]])
def test_columns_of_several_types_are_written_as_json(values: list[object], tmp_path: Path) -> None:
    printed: list[RenderableType] = []
    made = [replace(one, columns={"odd": value}) for one, value in zip(rollout(), values, strict=True)]
    Samples(SamplesSection(keep=True), tmp_path, TOKENIZER, printed.append)(0, made)
    assert all(isinstance(row["odd"], str) for row in pq.read_table(tmp_path / "000000.parquet").to_pylist())

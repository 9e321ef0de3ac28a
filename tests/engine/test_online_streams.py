"""Prompts of a source without end: read as they are needed, found again when a run goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from policy import online
from runs import MakeConfig, assert_same, ledger, weights

import burnish
from burnish.errors import PluginError
from burnish.rollout.journal import Journal


class Endless:
    """Prompts 0, 1, 2, ..., as good as without end. read: the row that was asked for last."""

    read = -1

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for self.read in range(5000):
            yield {"prompt": f"q {self.read}: ", "number": self.read}
        raise AssertionError("read further than anybody needs")


@dataclass(frozen=True, kw_only=True)
class Late:
    """Every third row is played only after six prompts were used."""

    def __call__(self, row: dict[str, Any], used: int) -> bool:
        return row["number"] % 3 != 0 or used >= 6


def streamed(make_config: MakeConfig, **changes: Any) -> dict[str, Any]:
    """One step of two prompts by four completions to a rollout batch."""
    config: dict[str, Any] = make_config(**online(epochs=1, curriculum=f"{__file__}:Late", rewards=[]))
    config["data"]["main"] = {"source": "given", "streaming": True, "shuffle_buffer": 4}
    return config | {"train": {"batch_size": 8, "steps": 5}, "checkpoint": {"every": 2, "keep": 9}} | changes


def rows_of(run: str) -> list[int]:
    journal = Journal(Path(run) / "rollouts")
    return [row for number in journal.numbers() for row in sorted({one.origin.row for one in journal.read(number) or ()})]


def test_a_stream_without_end_is_played_as_far_as_it_is_needed(make_config: MakeConfig, tmp_path: Path) -> None:
    """Also by a run that goes on: in the checkpoint of step 2 prompts wait that only the stream itself has, and the third
    rollout batch is in the journal."""

    def own(prompts: list[str], number: list[int], completion_ids: list[list[int]], **_: Any) -> list[float]:
        assert prompts == [f"q {one}: " for one in number]
        return [sum(ids) / len(ids) for ids in completion_ids]

    class Ends:
        def step_finished(self, run: Any, step: Any) -> None:
            if step.step == 3:
                raise OSError

    prompts, config, whole = Endless(), streamed(make_config), tmp_path / "whole"
    burnish.train(config | {"output": str(whole)}, data=prompts, rewards=[own])
    assert prompts.read < 4 + 2 * 32  # the buffer, and what is rendered at once
    rows = rows_of(str(whole))
    assert len({*rows}) == len(rows) == 10
    assert all(row % 3 for row in rows[:6])
    assert not all(row % 3 for row in rows[6:])

    with pytest.raises(PluginError, match="OSError"):
        burnish.train(config, data=Endless(), rewards=[own], observers=[Ends()])
    cursor = json.loads((tmp_path / "run/checkpoints/step-000002/trainer.json").read_text())["cursor"]
    assert cursor["place"]["waiting"]
    burnish.train(config, data=Endless(), rewards=[own], resume=True, step=2)
    assert rows_of(config["output"]) == rows
    assert_same(weights(whole), weights(tmp_path / "run"))
    assert ledger(whole) == ledger(tmp_path / "run")

"""The shared sets of programming tasks, judged by the reward `code`: their own solutions pass, others do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import RewardError
from burnish.registry import load
from burnish.rollout.rewards import Reward, load_reward, run_rewards


@pytest.fixture(scope="module")
def code() -> Reward:
    try:
        return load_reward("code", load(), options={"time_limit": 20.0})
    except RewardError as error:
        pytest.skip(str(error))


def judged(code: Reward, said: list[str], rows: list[dict[str, Any]]) -> list[float | None]:
    columns = {name: [row.get(name) for row in rows] for name in rows[0] if name != "prompt"}
    return run_rewards([code], ["?"] * len(said), said, [[1]] * len(said), columns)["code"]


def rows_of(file: Path, count: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()[:count]]


def test_mbpp(shared_data: Path, code: Reward) -> None:
    rows = rows_of(shared_data / "mbpp/test.jsonl", 3)
    assert judged(code, [row["code"] for row in rows], rows) == [1.0] * 3
    assert judged(code, [row["code"].replace("return", "return not") for row in rows], rows) == [0.0] * 3


def test_humaneval(shared_data: Path, code: Reward) -> None:
    rows = rows_of(shared_data / "humaneval/test.jsonl", 2)
    assert judged(code, [row["prompt"] + row["canonical_solution"] for row in rows], rows) == [1.0] * 2
    assert judged(code, [row["prompt"] + "    return None\n" for row in rows], rows) == [0.0] * 2

"""metrics.jsonl stays whole, strict and rewindable; unknown trackers are refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from burnish.engine.tracking import MetricsFile, check_trackers
from burnish.errors import ConfigError, RunError


def test_lines_are_strict_json(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    metrics.append({"step": 1, "loss": math.nan, "note": ["x"]})
    assert metrics.path.read_text() == '{"step": 1, "loss": null, "note": ["x"]}\n'


def test_rewind_forgets_later_and_torn_lines(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    for step in (0, 1, 2, 2, 3):
        metrics.append({"step": step})
    with metrics.path.open("a") as file:
        file.write('{"step": 4, "lo')
    metrics.rewind(2)
    assert [record["step"] for record in metrics.read()] == [0, 1, 2, 2]


def test_trackers() -> None:
    check_trackers(["tensorboard"])
    with pytest.raises(ConfigError, match="Did you mean 'tensorboard'"):
        check_trackers(["tensorbord"])
    with pytest.raises(ConfigError, match="pip install aim"):
        check_trackers(["aim"])


def test_a_line_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"could not write .*gone/metrics\.jsonl: \[Errno 2\]"):
        MetricsFile(tmp_path / "gone" / "metrics.jsonl").append({"step": 1})

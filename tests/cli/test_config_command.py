"""`burnish config`: shows without running anything that the config names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from burnish.cli.main import app


def config(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["config", *arguments])


def test_show_says_where_every_value_came_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text("train:\n  batch_size: 8\n")
    result = config("show", "run.yaml", "train.seed=5")
    assert result.exit_code == 0, result.stderr
    lines = {tuple(line.split()) for line in result.stdout.splitlines()}
    assert ("batch_size:", "8", "#", "run.yaml:2") in lines
    assert ("seed:", "5", "#", "override") in lines
    assert ("epochs:", "1.0", "#", "default") in lines


def test_show_runs_no_code(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise RuntimeError('ran')")
    (tmp_path / "run.yaml").write_text("objective: [./mine.py:Loss]\ndata: {main: {source: ./mine.py:rows}}\n")
    result = config("show", str(tmp_path / "run.yaml"))
    assert result.exit_code == 0, result.stderr
    assert f"{tmp_path}/mine.py:Loss" in result.stdout


def test_show_refuses_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("train:\n  batchsize: 8\n")
    result = config("show", str(tmp_path / "run.yaml"))
    assert result.exit_code == 2
    assert "run.yaml:2: train.batchsize: unknown key. Did you mean 'batch_size'?" in result.stderr


def test_schema_is_json() -> None:
    schema = json.loads(config("schema").stdout)
    assert schema["properties"]["recipe"]
    assert schema["$defs"]["TrainSection"]["additionalProperties"] is False

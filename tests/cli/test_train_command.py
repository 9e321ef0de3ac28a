"""`burnish train` and `burnish resume`, as typed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from burnish.cli.main import app
from burnish.testing import tiny_model, tiny_tokenizer


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tiny model, rows and `run.yaml`, which is where commands are typed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    tiny_model("llama").save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    rows = [{"prompt": f"twice {a} is", "completion": f" {2 * a}"} for a in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "model": {"name": "./model"},
        "data": {"main": {"source": "./rows.jsonl"}},
        "objective": ["sft"],
        "train": {"batch_size": 4, "steps": 4},
        "checkpoint": {"every": 2},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def test_train_then_resume_with_more_steps(folder: Path) -> None:
    trained = CliRunner().invoke(app, ["train", "run.yaml", "train.batch_size=5"])
    assert trained.exit_code == 0, trained.output
    assert "step 4/4  loss" in trained.stderr
    assert "model: runs/run/model" in trained.stderr.replace(f"{folder}/", "")
    refused = CliRunner().invoke(app, ["resume", "runs/run", "train.steps=6"])
    assert refused.exit_code == 2
    assert "config: train.steps: 4 -> 6" in refused.stderr
    resumed = CliRunner().invoke(app, ["resume", "runs/run", "train.steps=6", "--allow-changes"])
    assert resumed.exit_code == 0, resumed.output
    lines = [json.loads(line) for line in (folder / "runs/run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_mistakes_are_one_message(folder: Path) -> None:
    result = CliRunner().invoke(app, ["train", "run.yaml", "optimizer.name=adamv"])
    assert result.exit_code == 2
    assert "no optimizer named 'adamv'" in result.stderr
    assert "Traceback" not in result.output
    result = CliRunner().invoke(app, ["resume", "nowhere"])
    assert result.exit_code == 2
    assert "nowhere is not a run" in result.stderr


def test_ctrl_c_saves_and_exits_130(folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "burnish", "train", "run.yaml", "train.steps=100000"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("step 3/"):
            process.send_signal(signal.SIGINT)
            break
    process.communicate(timeout=300)
    assert process.returncode == 130
    (newest,) = sorted((folder / "runs/run/checkpoints").iterdir())[-1:]
    assert int(newest.name.removeprefix("step-")) >= 3

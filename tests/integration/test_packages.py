"""Packages as strangers meet them: a loss from outside the project, and wheels without the project."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PLUGIN = """
from burnish import LossRecord, hookimpl

@hookimpl
def burnish_losses():
    return [LossRecord(name="squared_margin", target="stranger.loss:SquaredMargin", summary="(h - 1)^2", paper="none",
                       data="preference", reduction="pair_mean", api=1)]
"""
LOSS = '''
from dataclasses import dataclass

from burnish import Pairs, Signal, Terms, logp


@dataclass(frozen=True, kw_only=True)
class SquaredMargin:
    """(h - target)^2 with h the difference of the mean log-probabilities."""

    target: float = 1.0

    def signals(self) -> frozenset[Signal]:
        return frozenset({logp()})

    def __call__(self, batch: Pairs) -> Terms:
        return Terms(pair=(batch.chosen.logp.mean() - batch.rejected.logp.mean() - self.target) ** 2)
'''
PROJECT = """
[build-system]
requires = ["flit_core>=3.10"]
build-backend = "flit_core.buildapi"
[project]
name = "stranger"
version = "3.2.1"
description = "a loss from outside"
dependencies = ["burnish"]
[project.entry-points.burnish]
stranger = "stranger.plugin"
"""


def run(*command: str, cwd: Path, **environment: str) -> str:
    """Output of a command that must succeed."""
    result = subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout[-4000:]}\n{result.stderr[-4000:]}"
    return result.stdout


def write_run(folder: Path, objective: list[object], model: Path) -> Path:
    """A run of two steps over eight pairs."""
    rows = [{"prompt": f"{n} + 1 =", "chosen": f" {n + 1}", "rejected": f" {n}"} for n in range(8)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "model": {"name": str(model)},
        "data": {"main": {"source": "pairs.jsonl"}},
        "objective": objective,
        "train": {"batch_size": 4, "steps": 2},
        "output": "run",
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Path:
    from burnish.testing import tiny_model, tiny_tokenizer

    folder = tmp_path / "tiny-model"
    tiny_model("llama").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def test_a_loss_from_a_stranger_is_used_after_pip_install(tmp_path: Path, tiny_folder: Path) -> None:
    package = tmp_path / "stranger"
    (package / "stranger").mkdir(parents=True)
    for name, text in {"__init__.py": '"""A stranger."""\n', "plugin.py": PLUGIN, "loss.py": LOSS}.items():
        (package / "stranger" / name).write_text(text)
    (package / "pyproject.toml").write_text(PROJECT)
    site = tmp_path / "site"
    pip = (
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(site),
        str(package),
    )
    run(*pip, cwd=tmp_path)
    write_run(tmp_path, [{"squared_margin": {"target": 2.0}}], tiny_folder)
    listed = run(sys.executable, "-m", "burnish", "plugins", "show", "squared_margin", cwd=tmp_path, PYTHONPATH=str(site))
    assert "stranger" in listed
    assert "3.2.1" in listed
    run(sys.executable, "-m", "burnish", "train", "run.yaml", cwd=tmp_path, PYTHONPATH=str(site))
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss/squared_margin" in line] == [1, 2]
    assert "stranger" in (tmp_path / "run/plugins.json").read_text()


def test_wheels_alone_train(tmp_path: Path, tiny_folder: Path, root: Path) -> None:
    """Core and three plugins as wheels, in a new environment outside the tree that has nothing but their dependencies."""
    wheels, venv = tmp_path / "wheels", tmp_path / "venv"
    projects = [root, *(root / "plugins" / name for name in ("sft", "dpo", "hh-rlhf"))]
    pip = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), *map(str, projects), cwd=tmp_path)
    run(sys.executable, "-m", "venv", "--without-pip", str(venv), cwd=tmp_path)
    python = str(venv / "bin/python")
    install = (*pip, "--python", python, "install", "--no-compile")  # what is imported is compiled then, the rest never
    run(*install, "torch==2.13.0", *map(str, sorted(wheels.glob("*.whl"))), cwd=tmp_path)
    write_run(tmp_path, [{"dpo": {"beta": 0.2}}, {"sft": {"on": "chosen"}}], tiny_folder)
    clean = {"PYTHONPATH": "", "VIRTUAL_ENV": str(venv)}
    origin = run(python, "-c", "import burnish; print(burnish.__file__)", cwd=tmp_path, **clean)
    assert origin.startswith(str(venv))
    run(str(venv / "bin/burnish"), "train", "run.yaml", cwd=tmp_path, **clean)
    assert (tmp_path / "run/model/model.safetensors").is_file()

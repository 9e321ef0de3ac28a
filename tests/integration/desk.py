"""A user's desk: a folder with a model, rows and a config, and the command line; and what must hold when it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor
from typer.testing import CliRunner

from burnish.cli.main import app
from burnish.model import loading

PAIRS = [
    {"prompt": f"{a} + {b} =", "chosen": f" {a + b}", "rejected": f" {a + b + 1}"} for a in range(1, 5) for b in range(1, 5)
]
TEXTS = [{"prompt": f"twice {a} is", "completion": f" {2 * a}"} for a in range(12)]
HINT = "`burnish --debug COMMAND` shows the traceback"


@dataclass(frozen=True)
class Answer:
    """What a command said, and its exit status."""

    code: int
    out: str
    err: str


class Desk:
    """The folder, and what a user does in it. The run goes to `run`, the config is `run.yaml`."""

    def __init__(self, folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.model, self._monkeypatch = folder, model, monkeypatch
        self.run = folder / "run"
        self.file = folder / "run.yaml"

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def rows(self, rows: Sequence[Mapping[str, Any]], name: str = "rows.jsonl") -> Path:
        return self.write(name, "".join(json.dumps(row) + "\n" for row in rows))

    def config(self, objective: Sequence[Any] = ("sft",), **changes: Any) -> None:
        """Write the config: `objective` on `rows.jsonl`, four steps; changes: whole sections, merged into those of it."""
        base = {
            "model": {"name": str(self.model)},
            "data": {"main": {"source": "./rows.jsonl"}},
            "objective": list(objective),
            "train": {"batch_size": 4, "steps": 4},
            "optimizer": {"lr": 0.01},
            "output": str(self.run),
        }
        self.file.write_text(yaml.safe_dump(merged(base, changes), sort_keys=False))

    def place(self, words: str) -> str:
        """Where the config says something first: `run.yaml:7`."""
        lines = self.file.read_text().splitlines()
        return f"{self.file}:{next(number for number, line in enumerate(lines, 1) if words in line)}"

    def burnish(self, *arguments: object) -> Answer:
        """A command, in this process."""
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(result.exit_code, result.stdout, result.stderr)

    def works(self, *arguments: object) -> Answer:
        """A command that succeeds; by default training."""
        answer = self.burnish(*(arguments or ("train", self.file)))
        assert answer.code == 0, answer.err
        return answer

    def refused(self, *arguments: object, weights: bool = False) -> str:
        """The one message of a command (by default training) that is refused and leaves every file as it was.

        weights: whether it may have read weights before it knew.
        """
        before, read = self.files(), []
        load = loading._load
        with self._monkeypatch.context() as patch:
            patch.setattr(loading, "_load", lambda *given: (read.append(given), load(*given))[1])
            answer = self.burnish(*(arguments or ("train", self.file)))
        assert answer.code == 2, answer
        assert "Traceback" not in answer.err
        _, *errors = re.split(r"^error: ", answer.err, flags=re.MULTILINE)
        assert len(errors) == 1, answer.err
        assert self.files() == before
        assert weights or not read
        return errors[0].replace(HINT, "").strip()

    def files(self) -> dict[str, bytes]:
        """Every file of the folder by its path, but for locks, which name their last owner."""
        found = (path for path in self.folder.rglob("*") if path.name != ".lock")
        return {str(path.relative_to(self.folder)): path.read_bytes() if path.is_file() else b"" for path in found}

    def weights(self, run: Path | None = None) -> dict[str, Tensor]:
        """The weights that a run has written."""
        tensors: dict[str, Tensor] = load_file((run or self.run) / "model" / "model.safetensors")
        return tensors

    def steps(self) -> list[str]:
        """The run's checkpoints, by name."""
        return sorted(path.name for path in (self.run / "checkpoints").iterdir())


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`changes` over `base`; mappings are merged, all else is replaced."""
    result = dict(base)
    for key, value in changes.items():
        below = base.get(key)
        result[key] = merged(below, value) if isinstance(value, dict) and isinstance(below, dict) else value
    return result


def same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    """Whether two models are equal, bit for bit."""
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)

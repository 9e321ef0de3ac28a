"""The directory of a run: who may write it, where each file lies, what the run was made of.

In: a path. Out: paths and small files written whole. Knows nothing of models or steps.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from burnish.config import Config
from burnish.config.show import to_yaml
from burnish.engine.manifest import write_text
from burnish.errors import RunError

LOCK = ".lock"


class RunDirectory:
    """Paths of a run's files (see DESIGN, "Files of a run"), and the lock against a second writer."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "run.yaml"
        self.plugins = self.path / "plugins.json"
        self.metrics = self.path / "metrics.jsonl"
        self.rollouts = self.path / "rollouts"
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model"
        self._lock: TextIO | None = None
        self._made = False

    def create(self) -> None:
        """Make the directory; one that already holds something is refused, and stays as it is."""
        if self.path.exists() and (not self.path.is_dir() or any(file.name != LOCK for file in self.path.iterdir())):
            remedy = f"continue it with `burnish resume {self.path}`" if self.config.exists() else "move it away"
            raise RunError(f"output {self.path} exists and is not empty: {remedy}, or choose another `output`")
        self._made = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"output {self.path} cannot be made: {error}; choose another `output`") from error

    def require(self) -> None:
        """Refuse a path that is not a run."""
        if not self.config.is_file():
            raise RunError(f"{self.path} is not a run: there is no {self.config}")

    def lock(self) -> None:
        """Become the only writer, until this process ends, however it ends; another writer is refused by its process id."""
        try:
            file = (self.path / LOCK).open("a+")
        except OSError as error:
            raise RunError(f"{self.path} cannot be written: {error}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise RunError(f"{self.path} is being written by process {file.read().strip() or 'unknown'}") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._lock = file

    def unlock(self) -> None:
        """Let go of the run; a directory that was made for it goes too when nothing was done in it."""
        if self._lock is not None:
            if self._made and {file.name for file in self.path.iterdir()} <= {LOCK, self.config.name, self.plugins.name}:
                shutil.rmtree(self.path)
            self._lock.close()
            self._lock = None

    def write(self, config: Config, plugins: Mapping[str, Any]) -> None:
        """run.yaml with where each value came from, and plugins.json: the plugin set with versions and hashes."""
        write_text(self.config, to_yaml(config))
        write_text(self.plugins, json.dumps(plugins, indent=2, sort_keys=True) + "\n")

"""The run's ledger of numbers: one JSON line a step, always, and Accelerate's trackers on request.

In: records of plain numbers. Out: metrics.jsonl, and whatever the trackers do. Knows nothing of what the numbers mean.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

from burnish.engine.manifest import write_text
from burnish.errors import ConfigError, RunError, did_you_mean


class MetricsFile:
    """metrics.jsonl: strict JSON (a number that is not finite becomes null), every line whole once `append` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one line; `record` carries its `step`."""
        line = json.dumps({key: _strict(value) for key, value in record.items()}, allow_nan=False)
        try:
            with self.path.open("a") as file:
                file.write(line + "\n")
        except OSError as error:
            raise RunError(f"could not write {self.path}: {error}") from error

    def rewind(self, step: int) -> None:
        """Forget the lines after `step` (and a last one cut short), which a resumed run writes anew."""
        if self.path.exists():
            write_text(self.path, "".join(json.dumps(record) + "\n" for record in self.read() if record["step"] <= step))

    def read(self) -> Iterator[dict[str, Any]]:
        """The records, in order; a last line cut short is left out."""
        for line in self.path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                yield json.loads(line)


def check_trackers(names: Sequence[str]) -> None:
    """Refuse a tracker that Accelerate does not know, or whose package is missing."""
    known = sorted(LOGGER_TYPE_TO_CLASS)
    available = {str(tracker) for tracker in get_available_trackers()}
    for name in names:
        if name not in known:
            raise ConfigError(f"no tracker named '{name}'. {did_you_mean(name, known)}")
        if name not in available:
            raise ConfigError(f"tracker '{name}' is asked for, but its package is not installed: pip install {name}")


def start_trackers(accelerator: Accelerator, name: str, config: Mapping[str, Any]) -> None:
    """Open the trackers that `accelerator` was made with, under the run's name, with its flat configuration."""
    if accelerator.log_with:
        accelerator.init_trackers(name, config=dict(_flat(config)))


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str | int | float | bool]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value if isinstance(value, str | int | float | bool) else json.dumps(value, default=str)


def _strict(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value

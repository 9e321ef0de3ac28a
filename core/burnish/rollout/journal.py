"""The journal: every rollout batch on disk before it is trained on. In: trajectories. Out: the same ones, to the bit.

RUN/rollouts/NNNNNN-HASH.arrow, one Arrow file a rollout batch, one row a trajectory; written beside, synced, renamed; its hash
is in its name. Never rewritten; old ones may be deleted (`rollout.keep`). Readable by pyarrow, pandas and `datasets`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from burnish.data.units import Numbers
from burnish.errors import RunError
from burnish.rollout.likeliest import NONE
from burnish.rollout.trajectory import Origin, Trajectory

PARTIAL = ".partial"
HASH_LENGTH = 16
NUMBERS = {1: pa.list_(pa.float32()), 2: pa.list_(pa.list_(pa.float32()))}  # by their dimensions: one, or several a token
ORIGIN = {"source": pa.string(), "row": pa.int64(), "part": pa.int32(), "group": pa.int32(), "member": pa.int32()}


class Journal:
    """The rollout batches of a run, by number."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def append(self, number: int, trajectories: Sequence[Trajectory]) -> Path:
        """Write rollout batch `number`; returns when it is safe. RunError when there is another one of that number."""
        if (there := self._find(number)) is not None:
            raise RunError(f"{there} is there already; a journal is never rewritten")
        self.folder.mkdir(parents=True, exist_ok=True)
        sink = pa.BufferOutputStream()
        table = _table(trajectories)
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        content = sink.getvalue().to_pybytes()
        path = self.folder / f"{number:06d}-{_hash(content)}.arrow"
        partial = path.with_name(path.name + PARTIAL)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        _sync(self.folder)
        return path

    def read(self, number: int) -> list[Trajectory] | None:
        """Rollout batch `number`, None when it was never written; RunError when the file was changed or cut."""
        path = self._find(number)
        if path is None:
            return None
        content = path.read_bytes()
        if _hash(content) != path.stem.partition("-")[2]:
            raise RunError(f"{path} is damaged: its content has another hash than its name says; delete it to draw it anew")
        try:
            table = pa.ipc.open_file(content).read_all()
            table.validate(full=True)  # anybody can give a file its hash, and what it says of itself is believed from here on
        except (OSError, ValueError) as error:
            raise RunError(f"{path} is no journal that can be read: {error}") from error
        return [_trajectory(row) for row in table.to_pylist()]

    def numbers(self) -> list[int]:
        """The rollout batches that are there, in order."""
        return sorted(int(path.name.partition("-")[0]) for path in self.folder.glob("*-*.arrow"))

    def forget_after(self, number: int) -> None:
        """Delete what a crash left half written, and the rollout batches after `number`."""
        for path in self.folder.glob(f"*{PARTIAL}"):
            path.unlink()
        for path in self.folder.glob("*-*.arrow"):
            if int(path.name.partition("-")[0]) > number:
                path.unlink()

    def forget_before(self, number: int) -> None:
        """Delete the rollout batches before `number`."""
        for path in self.folder.glob("*-*.arrow"):
            if int(path.name.partition("-")[0]) < number:
                path.unlink()

    def _find(self, number: int) -> Path | None:
        return next(self.folder.glob(f"{number:06d}-*.arrow"), None)


def _table(trajectories: Sequence[Trajectory]) -> pa.Table:
    dimensions = {name: numbers.ndim for one in trajectories for name, numbers in one.tokens.items()}
    names = sorted(dimensions)
    schema = pa.schema(
        [
            *ORIGIN.items(),
            ("outcome", pa.string()),
            ("reward", pa.float64()),
            ("rewards", pa.map_(pa.string(), pa.float64())),
            ("said", pa.string()),
            ("notes", pa.map_(pa.string(), pa.float64())),
            ("error", pa.string()),
            ("columns", pa.string()),
            ("logged", pa.map_(pa.string(), pa.float64())),
            ("ids", pa.list_(pa.int64())),
            ("own", pa.list_(pa.bool_())),
            ("versions", pa.list_(pa.int32())),
            *((f"tokens.{name}", NUMBERS[dimensions[name]]) for name in names),
        ]
    )
    rows = [
        {
            **asdict(one.origin),
            "outcome": one.outcome,
            "reward": one.reward,
            "rewards": list(one.rewards.items()),
            "said": json.dumps(one.said, ensure_ascii=False) if one.said else None,
            "notes": list(one.notes.items()),
            "error": one.error or None,
            "columns": json.dumps(dict(one.columns), ensure_ascii=False, default=str) if one.columns else None,
            "logged": list(one.logged.items()),
            "ids": one.ids,
            "own": one.own,
            "versions": one.versions,
            **{f"tokens.{name}": _rows(name, one.tokens.get(name)) for name in names},
        }
        for one in trajectories
    ]
    return pa.Table.from_pylist(rows, schema)


def _rows(name: str, numbers: Numbers | None) -> Any:
    """Numbers per token as pyarrow takes them: an array, or one for each token; null at the many of which nothing was reported,
    unless it is so of all, which would not say how many numbers a token has."""
    if numbers is None or numbers.ndim == 1:
        return numbers
    nothing = (_bits(numbers) == _bits(np.full_like(numbers, NONE[name]))).all(-1)
    return list(numbers) if nothing.all() else [None if empty else row for empty, row in zip(nothing, numbers, strict=True)]


def _bits(numbers: Numbers) -> NDArray[np.uint32]:
    """By which 0 and -0 differ."""
    return np.ascontiguousarray(numbers, np.float32).view(np.uint32)


def _numbers(name: str, values: list[Any]) -> Numbers:
    """What `_rows` made into columns."""
    if None in values:
        nothing = [NONE[name]] * next(len(row) for row in values if row is not None)
        values = [nothing if row is None else row for row in values]
    return np.array(values, np.float32)


def _trajectory(row: dict[str, Any]) -> Trajectory:
    tokens = {
        (name := column.removeprefix("tokens.")): _numbers(name, values)
        for column, values in row.items()
        if column.startswith("tokens.") and values is not None
    }
    return Trajectory(
        origin=Origin(**{name: row[name] for name in ORIGIN}),
        ids=np.array(row["ids"], np.int64),
        own=np.array(row["own"], np.bool_),
        versions=np.array(row["versions"], np.int32),
        tokens=tokens,
        outcome=row["outcome"],
        rewards=dict(row["rewards"]),
        reward=row["reward"],
        said=tuple(json.loads(row.get("said") or "[]")),
        notes=dict(row.get("notes") or ()),
        error=row.get("error") or "",
        columns=json.loads(row.get("columns") or "{}"),
        logged=dict(row.get("logged") or ()),
    )


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=HASH_LENGTH // 2).hexdigest()


def _sync(folder: Path) -> None:
    """Make the names in a folder as durable as the files."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Rewards kept on disk by content, for those that ask: what was judged once is not judged again, in this run or another.

In: what identifies a reward, and the arguments of a call. Out: the numbers that are known. Losing the file costs time only.
Failures and numbers of steps are not kept; what a reward logs beside its numbers is not repeated.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from burnish.rollout.asking import Answer, Call, Value

T = TypeVar("T")
_TABLE = "CREATE TABLE IF NOT EXISTS rewards (key BLOB PRIMARY KEY, value REAL) WITHOUT ROWID"


@dataclass(frozen=True)
class RewardCache:
    """A file `rewards.sqlite` in `folder`. identity: of the reward: its name, options, and the hash of its code."""

    folder: Path
    identity: str

    def keys(self, call: Call) -> list[bytes]:
        """What each completion of a call is known by: everything that the reward is told of it."""
        names = sorted(call.arguments)
        rows = ({name: call.arguments[name][place] for name in names} for place in range(call.size))
        return [_hash(self.identity, json.dumps(row, sort_keys=True, default=repr)) for row in rows]

    def known(self, call: Call) -> dict[int, float | None]:
        """The numbers that are known, by the completion's place."""
        keys = self.keys(call)
        found = self._get(keys)
        return {place: found[key] for place, key in enumerate(keys) if key in found}

    def completed(self, call: Call, known: Mapping[int, float | None], fresh: Answer | None) -> Answer:
        """The whole answer, of what was known and what was asked for; the latter is known from now on."""
        places = [place for place in range(call.size) if place not in known]
        values: dict[int, Value] = {**known, **dict(zip(places, fresh.values if fresh else (), strict=True))}
        keys = self.keys(call)
        self._put({keys[place]: value for place in places if (value := values[place]) is None or isinstance(value, float)})
        columns = {name: _spread(noted, places, call.size) for name, noted in (fresh.columns if fresh else {}).items()}
        return Answer([values[place] for place in range(call.size)], columns, fresh.metrics if fresh else {})

    def _get(self, keys: Sequence[bytes]) -> dict[bytes, float | None]:
        def read(database: sqlite3.Connection) -> dict[bytes, float | None]:
            rows = ((key, database.execute("SELECT value FROM rewards WHERE key = ?", (key,)).fetchone()) for key in keys)
            return {key: row[0] for key, row in rows if row is not None}

        nothing: dict[bytes, float | None] = {}
        return self._transaction(read, nothing)

    def _put(self, values: Mapping[bytes, float | None]) -> None:
        rows = list(values.items())
        self._transaction(lambda database: database.executemany("INSERT OR REPLACE INTO rewards VALUES (?, ?)", rows), None)

    def _transaction(self, action: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.folder / "rewards.sqlite", timeout=60)) as database, database:
                database.execute(_TABLE)
                return action(database)
        except (sqlite3.Error, OSError) as error:
            warnings.warn(f"the cache of rewards in {self.folder} cannot be used: {error}", stacklevel=4)
            return otherwise


def _spread(noted: Sequence[Any], places: Sequence[int], size: int) -> list[Any]:
    found = dict(zip(places, noted, strict=True))
    return [found.get(place) for place in range(size)]


def _hash(*parts: str) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(hashlib.blake2b(part.encode(), digest_size=16).digest())
    return digest.digest()

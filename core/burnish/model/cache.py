"""Log-probabilities of frozen models, kept on disk by content: what was computed once is never computed again.

In: a namespace (hash of the weights and of everything else that decides the numbers), keys of sequences, float32 [T] with NaN
where a token has not been scored. Shared by runs, losses and sweeps of one machine. Losing it costs time, never a run: whatever
goes wrong with the file is warned about once. Knows no tensor, no model.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from burnish.errors import ConfigError

Values = NDArray[np.float32]
Numbers = NDArray[np.float32] | NDArray[np.float64]
T = TypeVar("T")

_TABLE = """
CREATE TABLE IF NOT EXISTS logps (
    namespace TEXT NOT NULL, key TEXT NOT NULL, logps BLOB NOT NULL, used REAL NOT NULL, PRIMARY KEY (namespace, key)
) WITHOUT ROWID
"""
_SELECT = "SELECT logps FROM logps WHERE namespace = ? AND key = ?"
_TOUCH = "UPDATE logps SET used = ? WHERE namespace = ? AND key = ?"
_USAGE = "SELECT COUNT(*), COUNT(DISTINCT namespace), COALESCE(SUM(LENGTH(logps)), 0), MIN(used), MAX(used) FROM logps"
_UNUSED = "SELECT namespace, key, LENGTH(logps) FROM logps WHERE used < ? ORDER BY used"


FILE, LIMIT = "logps.sqlite", "BURNISH_CACHE_LIMIT"
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def size_of(text: str) -> int:
    """Bytes of a size as people write it: `500MB`, `2 GB`, `1e9`."""
    found = re.fullmatch(r"([\d.]+(?:e\d+)?)\s*([kmgt]?)b?", text.strip().lower())
    if found is None:
        raise ConfigError(f"'{text}' is no size; write it like 500MB or 2GB")
    return int(float(found[1]) * UNITS[found[2]])


def size_limit() -> int:
    """Bytes of values that are kept: $BURNISH_CACHE_LIMIT, or 8 GB."""
    return size_of(os.environ.get(LIMIT) or "8GB")


@dataclass(frozen=True)
class Usage:
    """What the cache holds. models: how many made the values; oldest, newest: when an entry was last used, seconds since 1970,
    0 where there is none."""

    entries: int
    models: int
    num_bytes: int
    oldest: float
    newest: float


class LogpCache:
    """A file `logps.sqlite` in `folder`, of at most `limit_bytes` of values; the entries unused for longest go first.

    Entries that were read or written since this object was made are pinned: it never evicts them.
    """

    def __init__(self, folder: Path, limit_bytes: int | None = None) -> None:
        self._limit_bytes = size_limit() if limit_bytes is None else limit_bytes
        self._path, self._opened = folder / FILE, time.time()
        self._is_writable = True
        self._num_bytes = 0  # grows with what this object writes; measured again before anything is evicted
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._give_up_writing(error)
        self._transaction(self._open, None)

    def get(self, namespace: str, keys: Iterable[str]) -> dict[str, Values]:
        """The known ones among `keys`."""

        def read(database: sqlite3.Connection) -> dict[str, Values]:
            rows = ((key, database.execute(_SELECT, (namespace, key)).fetchone()) for key in keys)
            return {key: np.frombuffer(row[0], np.float32).copy() for key, row in rows if row is not None}

        nothing: dict[str, Values] = {}
        found = self._transaction(read, nothing)
        used = [(time.time(), namespace, key) for key in found]
        if used and self._is_writable:
            self._transaction(lambda database: database.executemany(_TOUCH, used).close(), None)
        return found

    def put(self, namespace: str, logps: Mapping[str, Numbers]) -> None:
        """Store, over what was there before under the same keys. Only float32: float64, asked for where every digit counts,
        must not come back rounded."""
        single = {key: values for key, values in logps.items() if values.dtype == np.float32}
        rows = [(namespace, key, values.tobytes(), time.time()) for key, values in single.items()]

        def write(database: sqlite3.Connection) -> None:
            database.executemany("INSERT OR REPLACE INTO logps VALUES (?, ?, ?, ?)", rows)
            self._num_bytes += sum(len(row[2]) for row in rows)
            if self._num_bytes > self._limit_bytes:
                self._evict(database, self._limit_bytes, self._opened)

        if rows and self._is_writable:
            self._transaction(write, None)

    def usage(self) -> Usage:
        """What there is now."""
        nothing = (0, 0, 0, None, None)
        entries, models, size, oldest, newest = self._transaction(lambda database: database.execute(_USAGE).fetchone(), nothing)
        return Usage(entries, models, size, oldest or 0.0, newest or 0.0)

    def trim(self, limit_bytes: int) -> None:
        """Forget the entries unused for longest, until at most so many bytes of values are left; 0 forgets all. Gives the space
        on disk back. A run that goes on computes again what it misses."""

        self._transaction(lambda database: self._evict(database, limit_bytes, time.time()), None)
        self._transaction(lambda database: database.execute("VACUUM").close(), None)

    def _open(self, database: sqlite3.Connection) -> None:
        database.execute(_TABLE)
        self._num_bytes = _size(database)

    def _evict(self, database: sqlite3.Connection, limit_bytes: int, before: float) -> None:
        """Delete entries that were not used since `before`, the oldest first, until the rest is small enough."""
        self._num_bytes = _size(database)
        for namespace, key, size in database.execute(_UNUSED, (before,)).fetchall():
            if self._num_bytes <= limit_bytes:
                return
            database.execute("DELETE FROM logps WHERE namespace = ? AND key = ?", (namespace, key))
            self._num_bytes -= size

    def _transaction(self, action: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """What `action` returns, or `otherwise` when the database fails."""
        try:
            with closing(sqlite3.connect(self._path, timeout=60)) as database, database:
                return action(database)
        except sqlite3.Error as error:
            self._give_up_writing(error)
            return otherwise

    def _give_up_writing(self, error: Exception) -> None:
        if self._is_writable:
            self._is_writable = False
            warnings.warn(f"the cache of log-probabilities at {self._path} takes nothing new: {error}", stacklevel=4)


def _size(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT COALESCE(SUM(LENGTH(logps)), 0) FROM logps").fetchone()[0])

"""Log-probabilities of frozen models, kept on disk by content: what was computed once is never computed again.

In: a namespace (hash of the weights and of everything else that decides the numbers), keys of sequences, float32 [T] with NaN
where a token has not been scored. Shared by runs, losses and sweeps of one machine. Losing it costs time, never a run: whatever
goes wrong with the file is warned about once. Knows no tensor, no model.
"""

from __future__ import annotations

import sqlite3
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

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
_UNUSED = "SELECT namespace, key, LENGTH(logps) FROM logps WHERE used < ? ORDER BY used"


class LogpCache:
    """A file `logps.sqlite` in `folder`, of at most `limit_bytes` of values; the entries unused for longest go first.

    Entries that were read or written since this object was made are pinned: it never evicts them.
    """

    def __init__(self, folder: Path, limit_bytes: int = 8 * 2**30) -> None:
        self._path, self._limit_bytes, self._opened = folder / "logps.sqlite", limit_bytes, time.time()
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
                self._evict(database)

        if rows and self._is_writable:
            self._transaction(write, None)

    def _open(self, database: sqlite3.Connection) -> None:
        database.execute(_TABLE)
        self._num_bytes = _size(database)

    def _evict(self, database: sqlite3.Connection) -> None:
        self._num_bytes = _size(database)
        for namespace, key, size in database.execute(_UNUSED, (self._opened,)).fetchall():
            if self._num_bytes <= self._limit_bytes:
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

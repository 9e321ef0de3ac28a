"""Folders that go with the process that made them: at its end, or, where it is killed, when the next one begins.

A file in each is locked for as long as its owner lives; the system lets go of it then, whatever happened. It names the running
system whose locks these are: of another one's folders, as on a disk that several machines see, nobody here can tell.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import uuid
import weakref
from contextlib import suppress
from pathlib import Path
from typing import IO

PREFIX = "burnish-vllm-"
OWNER = "owner"
BOOT = Path("/proc/sys/kernel/random/boot_id")


class OwnFolder:
    """A new folder in `parent`, which is made where it is missing. private: whether only this user can enter it."""

    def __init__(self, parent: Path, *, private: bool = False) -> None:
        remove_left(parent)
        self.path = parent.absolute() / f"{PREFIX}{uuid.uuid4().hex[:8]}"
        parent.mkdir(parents=True, exist_ok=True)
        self.path.mkdir(mode=0o700 if private else 0o777)
        lock = (self.path / OWNER).open("w")
        if _locked(lock, wait=True):  # else nobody could tell that this process lives: without the name it is left alone
            lock.write(_system())
            lock.flush()
        # Also called when nobody holds this object any more, and at the end of the process.
        self.remove = weakref.finalize(self, _end, self.path, lock, os.getpid())


def remove_left(parent: Path) -> None:
    """Remove what owners that are dead have left in `parent`."""
    for folder in parent.glob(f"{PREFIX}*"):
        if folder.is_symlink() or not _is_ours(folder):
            continue
        try:
            lock = (folder / OWNER).open("r+")
        except OSError:  # it is only being made, or removed
            continue
        with lock:
            if _locked(lock, wait=False) and lock.read() == _system():
                with suppress(OSError):  # what cannot be removed now is no reason to end a run
                    _remove(folder)


def _is_ours(folder: Path) -> bool:
    try:
        return folder.stat().st_uid == os.getuid()
    except OSError:  # somebody else was faster
        return False


def _system() -> str:
    """This one from when it was started until it is started again."""
    return BOOT.read_text().strip() if BOOT.exists() else platform.node()


def _locked(file: IO[str], *, wait: bool) -> bool:
    """Whether the lock is ours now; never where the disk knows no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _remove(folder: Path) -> None:
    """The owner's file last: what is left where this is killed too can be told again."""
    for path in sorted(folder.iterdir(), key=lambda one: one.name == OWNER):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _end(folder: Path, lock: IO[str], owner: int) -> None:
    if os.getpid() == owner:  # a process that was forked has this object too
        with suppress(OSError):
            _remove(folder)
    lock.close()

"""Folders that are whole or absent: written beside, hashed, synced, then renamed; read only when every hash agrees.

In: a function that fills a folder. Out: that folder under its final name, with `manifest.json`. Knows not what files hold.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from burnish.errors import RunError

MANIFEST = "manifest.json"
PARTIAL, REMOVED = ".partial", ".removed"


def write_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Create `folder` as `fill` fills an empty one, or put it in the place of what has that name.

    A crash or a full disk at any moment leaves what was there, or nothing, never half.
    """
    partial = folder.with_name(folder.name + PARTIAL)
    try:
        remove_folder(partial)
        partial.mkdir(parents=True)
        fill(partial)
        written = sorted(path for path in partial.rglob("*") if path.is_file())
        files = {path.relative_to(partial).as_posix(): _describe(path) for path in written}
        (partial / MANIFEST).write_text(json.dumps({"files": files, "sha256": _digest(files)}, indent=2))
        for path in [*partial.rglob("*"), partial]:
            _sync(path)
        remove_folder(folder)
        os.rename(partial, folder)
        _sync(folder.parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise RunError(f"could not write {folder}: {error}. What was there before is untouched.") from error


def verify_folder(folder: Path) -> None:
    """Raise `RunError` naming the file that is missing or differs from the manifest."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        files = manifest["files"]
        whole = manifest["sha256"] == _digest(files)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder / MANIFEST} is damaged: {type(error).__name__}: {error}") from error
    if not whole:
        raise RunError(f"{folder / MANIFEST} is damaged: it does not hash to what it says")
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise RunError(f"{path} is missing; the manifest lists it with {expected['bytes']} bytes")
        if _describe(path) != expected:
            raise RunError(f"{path} is damaged: its size or SHA-256 is not what the manifest says")


def remove_folder(folder: Path) -> None:
    """Delete `folder` if it is there; it loses its name first, so that a crash never leaves half of it under that name."""
    if folder.exists():
        doomed = folder.with_name(folder.name + REMOVED)
        shutil.rmtree(doomed, ignore_errors=True)
        os.rename(folder, doomed)
        shutil.rmtree(doomed)


def write_text(path: Path, text: str) -> None:
    """Replace the file at `path`: written beside, synced, renamed."""
    partial = path.with_name(path.name + PARTIAL)
    try:
        partial.write_text(text)
        _sync(partial)
        os.replace(partial, path)
        _sync(path.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunError(f"could not write {path}: {error}. What was there before is untouched.") from error


def _describe(path: Path) -> dict[str, int | str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _digest(files: object) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

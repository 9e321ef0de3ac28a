"""The cache of tokenised sources: Arrow tables named by the hash of everything that made them. Knows no row and no unit.

An entry is a folder written beside its place and renamed into it, so a partial one is never taken for whole. A cache that
cannot be written is said so once, and the run goes on without.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa

TABLE, REPORT = "units.arrow", "report.json"


def cache_folder() -> Path:
    """$BURNISH_CACHE/data, or ~/.cache/burnish/data."""
    return Path(os.environ.get("BURNISH_CACHE") or Path.home() / ".cache" / "burnish") / "data"


def cache_key(*parts: object) -> str:
    """Hash of `parts` and of the code of this package."""
    digest = hashlib.blake2b(_code_hash().encode(), digest_size=16)
    for part in parts:
        digest.update(b"\0" + str(part).encode())
    return digest.hexdigest()


def tokenizer_hash(tokenizer: Any) -> str:
    """Hash of everything that says how `tokenizer` turns text or messages into ids."""
    digest = hashlib.blake2b(digest_size=16)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        words = json.dumps(sorted(tokenizer.get_vocab().items())) + str(getattr(tokenizer, "init_kwargs", ""))
    else:
        text = backend.to_str()
        words = text[text.index('"added_tokens"') :]  # before it stand padding and truncation, which calls switch on and off
    for part in (type(tokenizer).__name__, words, tokenizer.chat_template, sorted(tokenizer.special_tokens_map.items())):
        digest.update(b"\0" + str(part).encode())
    return digest.hexdigest()


def load(folder: Path, key: str) -> tuple[pa.Table, dict[str, Any]] | None:
    """The table and the report of an entry; None when there is none, or none that can be read."""
    entry = folder / key
    try:
        report: dict[str, Any] = json.loads((entry / REPORT).read_text(encoding="utf-8"))
        with pa.memory_map(str(entry / TABLE)) as source:
            table = pa.ipc.open_file(source).read_all()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        warnings.warn(f"the cached tokens at {entry} cannot be read ({error}); tokenising again", stacklevel=2)
        shutil.rmtree(entry, ignore_errors=True)
        return None
    return table, report


def entries(folder: Path) -> dict[str, int]:
    """Bytes of every entry, by key, the one made first at the front."""
    made = sorted((entry for entry in folder.glob("*") if (entry / TABLE).is_file()), key=lambda entry: entry.stat().st_mtime)
    return {entry.name: sum(file.stat().st_size for file in entry.iterdir()) for entry in made}


def trim(folder: Path, limit_bytes: int) -> None:
    """Remove the entries that were made first, until at most so many bytes are left; a run that has one open keeps it."""
    known = entries(folder)
    left = sum(known.values())
    for key, size in known.items():
        if left <= limit_bytes:
            return
        shutil.rmtree(folder / key)
        left -= size


def store(folder: Path, key: str, table: pa.Table, report: dict[str, Any]) -> None:
    """Writes an entry; when that fails, warns once for each folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=folder))
        try:
            with pa.OSFile(str(beside / TABLE), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
            (beside / REPORT).write_text(json.dumps(report), encoding="utf-8")
            for file in (beside / TABLE, beside / REPORT):
                _sync(file)
            beside.rename(folder / key)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        if not (folder / key).exists():  # else another process was faster
            _warn_unwritable(str(folder), str(error))


def _sync(file: Path) -> None:
    """Have its bytes on the disk before its name: after a loss of power, holes in it would be read as tokens."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


@cache
def _warn_unwritable(folder: str, error: str) -> None:
    warnings.warn(
        f"tokens cannot be cached in {folder} ({error}); this run tokenises and goes on. "
        "Set BURNISH_CACHE to another folder, or render.cache to false",
        stacklevel=3,
    )


@cache
def _code_hash() -> str:
    """Hash of this package's own files: other code, other tokens."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(_files_under(Path(str(files("burnish.data"))))):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _files_under(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.suffix in (".py", ".jinja"))

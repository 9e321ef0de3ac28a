"""Rows out of files: JSON lines, JSON, CSV, Parquet, text. In: a path. Out: rows and where each stands, one by one.

Knows no format and no split; what a row holds is not its business, that the file can be read is.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from csv import reader as table_lines
from pathlib import Path
from typing import IO, Any

from burnish.data.examples import Row
from burnish.errors import DataError, did_you_mean

Numbered = Iterator[tuple[int | None, Row]]
BLOCK_BYTES = 1 << 24
SHOWN = 40
TABLES = (".csv", ".tsv")


def read_jsonl(path: Path, delimiter: str | None) -> Numbered:
    """One row a line, with its line number; blank lines are no rows."""
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                hint = ". Is this one list of rows? Then name it .json" if line.lstrip().startswith("[") else ""
                yield number, _row(_parse(line.rstrip(), f"{path}:{number}", hint), f"{path}:{number}", hint)


def read_json(path: Path, delimiter: str | None) -> Numbered:
    """The rows of a list, or of an object whose only list they are."""
    with _open(path) as file:
        text = file.read()
    content = _parse(text, str(path), ". Is this a row a line? Then name it .jsonl") if text.strip() else []
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        if len(lists) != 1:
            raise DataError(f"{path}: expected a list of rows, found an object with keys {', '.join(content)}")
        content = lists[0]
    if not isinstance(content, list):
        raise DataError(f"{path}: expected a list of rows, found {type(content).__name__}")
    for index, row in enumerate(content):
        yield None, _row(row, f"row {index} of {path}")


def read_csv(path: Path, delimiter: str | None) -> Numbered:
    """The rows of a table with a header. Every cell is text: a completion `007` is no number."""
    import pyarrow as pa
    from pyarrow import csv

    mark = delimiter or ("\t" if ".tsv" in path.suffixes else ",")
    with _open(path) as file:
        names = next(table_lines(file, delimiter=mark), [])
    read = csv.ReadOptions(block_size=BLOCK_BYTES)
    parse = csv.ParseOptions(delimiter=mark, newlines_in_values=True)
    text = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    try:
        with csv.open_csv(path, read_options=read, parse_options=parse, convert_options=text) as reader:
            for batch in reader:
                yield from ((None, row) for row in batch.to_pylist())
    except pa.ArrowInvalid as error:
        if path.stat().st_size:
            raise DataError(f"{path}: {error}") from error


def read_parquet(path: Path, delimiter: str | None) -> Numbered:
    """The rows of a Parquet file."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                yield from ((None, row) for row in batch.to_pylist())
    except pa.ArrowInvalid as error:
        if path.stat().st_size:
            raise DataError(f"{path}: {error}") from error


def read_text(path: Path, delimiter: str | None) -> Numbered:
    """Pieces of text between delimiters (line ends by default) as `{"text": piece}`, with the line each begins in."""
    mark, rest, line = delimiter or "\n", "", 1
    with _open(path) as file:
        for block in iter(lambda: file.read(BLOCK_BYTES), ""):
            *pieces, rest = (rest + block).split(mark)
            for piece in pieces:
                if piece.strip():
                    yield line, {"text": piece}
                line += piece.count("\n") + mark.count("\n")
    if rest.strip():
        yield line, {"text": rest.removesuffix("\n")}


READERS: dict[str, Callable[[Path, str | None], Numbered]] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
    ".txt": read_text,
    ".text": read_text,
}


def suffix_of(path: Path) -> str:
    """What the name says the file is, under a `.gz`."""
    return (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()


def read_file(path: Path, delimiter: str | None) -> Numbered:
    """The rows of one file, by the ending of its name."""
    suffix = suffix_of(path)
    if suffix not in READERS:
        raise DataError(f"{path} is no kind of file that rows can be read from. {did_you_mean(suffix, READERS)}")
    try:
        yield from READERS[suffix](path, delimiter)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8: {error}") from error


def files_hash(paths: Iterable[Path]) -> str:
    """Hash of the bytes of all files."""
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest() + suffix_of(path).encode())
    return digest.hexdigest()


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")


def _parse(text: str, where: str, hint: str = "") -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        raise DataError(f"{where}: broken JSON: {error.msg} ({place}), after {text[: error.pos][-SHOWN:]!r}{hint}") from error


def _row(value: Any, where: str, hint: str = "") -> Row:
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected an object with columns, found {type(value).__name__}{hint}")
    return value

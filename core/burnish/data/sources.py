"""Where rows come from: files, folders, saved data sets, the hub, plugins, live objects. In: a section. Out: a `RowSource`.

Reads nothing before it is iterated, and reads again each time it is. Knows no format, tokenizer or split of training and
evaluation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from burnish.data.examples import Row
from burnish.data.files import READERS, TABLES, files_hash, read_file, suffix_of
from burnish.errors import BurnishError, DataError, did_you_mean, nearest, raised
from burnish.registry import Registry, SourceRecord, is_custom

if TYPE_CHECKING:
    from burnish.config.sections import SourceSection

NUMERIC = ("label", "rating", "weight", "margin")  # what formats read as numbers or truth values


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands: its index in the source, and the line of a file where that is known.

    part: which of the examples that were made of the row.
    """

    index: int
    name: str
    line: int | None = None
    part: int = 0

    def __str__(self) -> str:
        row = f"row {self.index} of {self.name}" if self.line is None else f"{self.name}:{self.line}"
        return f"{row} (its example {self.part + 1})" if self.part else row


@dataclass(frozen=True)
class RowSource:
    """Rows with their places, as often as asked. fingerprint: a hash of the content, which may read all of it.

    sketch: what can be said of the content without reading it.
    """

    name: str
    read: Callable[[], Iterator[tuple[Place, Row]]]
    fingerprint: Callable[[], str]
    sketch: str

    def __iter__(self) -> Iterator[tuple[Place, Row]]:
        return self.read()


class _Remembered:
    """The rows of an iterator, which gives each of them once: kept as they come, and no more of them than were asked for."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows, self._known, self._lock = rows, list[Row](), Lock()

    def __iter__(self) -> Iterator[Row]:
        for place in count():
            with self._lock:  # a batch may be read ahead in a thread of its own
                if place == len(self._known):
                    self._known += islice(self._rows, 1)
                if place == len(self._known):
                    return
            yield self._known[place]


def open_source(section: SourceSection, registry: Registry, live: Iterable[Row] | None = None) -> RowSource:
    """The rows that the section names, or the `live` ones.

    Code is called; a name is tried as files (a path, a folder, a pattern), as a plugin's source, and as a data set on the hub.
    """
    wanted = section.source
    if live is not None:
        rows = _Remembered(live) if isinstance(live, Iterator) else live
        return _with_columns(_from_rows(lambda: rows, "the given rows"), section.columns)
    found = None if is_custom(wanted) else _from_path(wanted, section)
    found = found or _from_plugin(wanted, section, registry) or _from_hub(wanted, section, registry)
    return _with_columns(found, section.columns)


def _from_path(wanted: str, section: SourceSection) -> RowSource | None:
    path = Path(wanted).expanduser()
    if path.is_dir() and any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
        return _from_saved(path, section)
    if path.is_dir():
        files = _of_split(path, section.split)
    elif path.is_file():
        files = [path]
    else:
        pattern = path if any(sign in wanted for sign in "*?[") else None
        files = sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))) if pattern else []
    if not files:
        if path.exists() or path.is_absolute() or wanted.startswith((".", "~")) or suffix_of(path) in READERS:
            raise DataError(f"there is no data at {path.absolute()}.{_beside(path)}")
        return None
    if not path.is_dir():
        _refuse_split(section, files[0].parent)
    delimiter = section.delimiter
    numeric = {section.columns.get(name, name) for name in NUMERIC}

    def read() -> Iterator[tuple[Place, Row]]:
        index = 0
        for file in files:
            is_table = suffix_of(file) in TABLES
            for line, row in read_file(file, delimiter):
                yield Place(index, str(file), line), _with_numbers(row, numeric) if is_table else row
                index += 1

    sizes = ", ".join(f"{file.name} ({file.stat().st_size} bytes)" for file in files)
    return RowSource(wanted, read, lambda: f"{files_hash(files)}|{delimiter}", sizes)


def _refuse_split(section: SourceSection, folder: Path | None = None) -> None:
    """DataError where a split is asked for of rows that have none: all would come, those that are trained on among them."""
    split = section.split
    if split == "train":
        return
    files = sorted(path for path in folder.iterdir() if suffix_of(path) in READERS) if folder else []
    near = next((path for path in files if _names_split(path.relative_to(path.parent), split)), None)
    remedy = f"name a file of its own, such as {near}" if near else "name a file of its own, or hold out a fraction of the rows"
    raise DataError(f"'{section.source}' is not divided into splits, so it has no split '{split}': {remedy}")


def _beside(path: Path) -> str:
    """A question about the file of the nearest name in the same folder."""
    near = nearest(path.name, (item.name for item in path.parent.iterdir())) if path.parent.is_dir() else None
    return f" Did you mean '{near}'?" if near else ""


def _with_numbers(row: Row, names: Iterable[str]) -> Row:
    """A table's row, whose cells are text, with what the cells under `names` say."""
    return {**row, **{name: _said_in(row[name]) for name in names if name in row}}


def _said_in(cell: str) -> Any:
    """A number, a truth value or nothing; text that is none of them as it is."""
    try:
        return json.loads(cell.lower()) if cell.strip() else None
    except ValueError:
        return cell


def _of_split(folder: Path, split: str) -> list[Path]:
    """The files of a folder that belong to `split` (`train.jsonl`, `train-00000.parquet`, `train/...`), or all for `train`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and suffix_of(path) in READERS)
    named = [path for path in files if _names_split(path.relative_to(folder), split)]
    if not named and files and split != "train":
        raise DataError(f"{folder} has no files of split '{split}': {', '.join(path.name for path in files)}")
    return named or files


def _names_split(path: Path, split: str) -> bool:
    stem = path.name.partition(".")[0]
    return split in path.parts[:-1] or stem == split or stem.startswith((f"{split}-", f"{split}_"))


def _from_saved(path: Path, section: SourceSection) -> RowSource:
    import datasets

    data: Any = datasets.load_from_disk(str(path))
    if isinstance(data, datasets.DatasetDict):
        if section.split not in data:
            raise DataError(f"{path} has no split '{section.split}'. {did_you_mean(section.split, data)}")
        data = data[section.split]
    else:
        _refuse_split(section)
    return _from_rows(lambda: data, str(path))


def _from_plugin(wanted: str, section: SourceSection, registry: Registry) -> RowSource | None:
    if not is_custom(wanted) and all(record.name != wanted for record in registry.records(SourceRecord)):
        return None
    _refuse_split(section)
    target = registry.find(SourceRecord, wanted)

    def make() -> Iterable[Row]:
        try:
            made: Iterable[Row] = target(**section.options) if callable(target) else target
        except BurnishError:
            raise
        except Exception as error:
            raise DataError(f"source '{wanted}' with {section.options} failed: {raised(error)}") from error
        return made

    rows = make()
    source = _from_rows(make if isinstance(rows, Iterator) else lambda: rows, wanted)

    def read() -> Iterator[tuple[Place, Row]]:
        try:
            yield from source.read()
        except BurnishError:
            raise
        except Exception as error:
            raise DataError(f"source '{wanted}' with {section.options} failed: {raised(error)}") from error

    return replace(source, read=read)


def _from_hub(wanted: str, section: SourceSection, registry: Registry) -> RowSource:
    import datasets

    try:
        data = datasets.load_dataset(wanted, split=section.split, streaming=section.streaming, **section.options)
    except Exception as error:
        known = did_you_mean(wanted, [record.name for record in registry.records(SourceRecord)])
        raise DataError(
            f"there is no data at '{wanted}'.{_beside(Path(wanted))} "
            f"Tried: files of that name under {Path.cwd()}; a plugin's source ({known[:-1]}); "
            f"split '{section.split}' of the data set '{wanted}' on the Hugging Face hub or in its cache "
            f"({type(error).__name__}: {error})"
        ) from error
    return _from_rows(lambda: data, wanted)


def _from_rows(rows: Callable[[], Iterable[Row]], name: str) -> RowSource:
    """Live rows: `rows` gives them from the beginning each time it is called."""

    def read() -> Iterator[tuple[Place, Row]]:
        for index, row in enumerate(rows()):
            if not isinstance(row, Mapping):
                raise DataError(f"row {index} of {name}: expected a mapping of columns, found {type(row).__name__}")
            yield Place(index, name), row

    def fingerprint() -> str:
        known = getattr(rows(), "_fingerprint", None)  # what `datasets` keeps of a table's content
        if known is not None:
            return str(known)
        digest = hashlib.blake2b(digest_size=16)
        for row in rows():
            digest.update(json.dumps(row, sort_keys=True, default=repr).encode() + b"\n")
        return digest.hexdigest()

    return RowSource(name, read, fingerprint, name)


def _with_columns(source: RowSource, columns: Mapping[str, str]) -> RowSource:
    """The source with columns renamed: burnish's name -> the source's name."""
    if not columns:
        return source
    taken = set(columns.values())

    def read() -> Iterator[tuple[Place, Row]]:
        for place, row in source.read():
            missing = [theirs for theirs in taken if theirs not in row]
            if missing:
                raise DataError(f"{place} has no column '{missing[0]}', which `columns` names. {did_you_mean(missing[0], row)}")
            yield (
                place,
                {
                    **{key: value for key, value in row.items() if key not in taken},
                    **{ours: row[theirs] for ours, theirs in columns.items()},
                },
            )

    renamed = str(sorted(columns.items()))
    return RowSource(source.name, read, lambda: f"{source.fingerprint()}|{renamed}", f"{source.sketch}|{renamed}")

"""Which format a source's rows have, told from many of them. In: rows, the registry. Out: one format, or what disagrees.

Knows formats only by their protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from burnish.data.examples import KINDS, Example, NoExample, Row, RowError
from burnish.data.formats import Format
from burnish.errors import DataError, PluginError, did_you_mean, raised
from burnish.registry.records import FormatRecord

if TYPE_CHECKING:
    from burnish.registry import Registry

Location = Callable[[int], str]
SHOWN = 5


def row_number(index: int) -> str:
    """Where a row is when nothing better is known."""
    return f"row {index}"


def detect_format(
    rows: Iterable[Row], registry: Registry, name: str = "auto", location: Location = row_number, mixed: bool = False
) -> Format:
    """The format of `rows`: the one called `name`, or with `auto` the one that explains most columns of all of them.

    location: index -> where that row is. mixed: let rows of other formats pass; converting them will fail. Errors: no rows; no
    format knows them; rows of several formats, each with its place, its keys and what was expected; two formats that fit alike.
    """
    rows = list(rows)
    if not rows:
        raise DataError("there are no rows: the source is empty")
    if name != "auto":
        return load_format(name, registry)
    formats, failed = _installed(registry)
    scores = np.array([[_sniff(known, row, index, location) for index, row in enumerate(rows)] for known in formats])
    totals = scores.sum(axis=1)
    if not totals.any():
        raise DataError(_nobody(rows[0], location(0), formats) + "".join(f" Left out: {error}" for error in failed))
    best = int(totals.argmax())
    odd = np.flatnonzero(scores[best] < scores.max(axis=0))
    if len(odd) and not mixed:
        raise DataError(_mixed(rows, odd.tolist(), formats[best], [formats[at] for at in scores.argmax(axis=0)], location))
    rivals = sorted(known.name for known, total in zip(formats, totals, strict=True) if total == totals[best])
    if len(rivals) > 1:
        raise DataError(f"the rows fit {' and '.join(rivals)} equally well; say which with `format:`")
    return formats[best]


def load_format(name: str, registry: Registry) -> Format:
    """The format called `name`, or the object that `module:attr` or `./file.py:attr` names."""
    target = registry.find(FormatRecord, name)
    try:
        found = target() if isinstance(target, type) else target
    except Exception as error:
        raise PluginError(f"format '{name}' cannot be made: {raised(error)}") from error
    if not isinstance(found, Format):
        raise PluginError(f"'{name}' is not a format: {found!r} lacks one of name, kind, sniff(row), convert(row)")
    if found.kind not in KINDS:
        near = did_you_mean(found.kind, KINDS)
        raise PluginError(f"format '{found.name}' makes examples of an unknown kind '{found.kind}'. {near}")
    return found


def convert(known: Format, row: Row, where: str) -> tuple[Example, ...]:
    """The examples in `row`, most often one; a format that raises anything but `RowError` is named together with the row."""
    try:
        found = known.convert(row)
    except NoExample as error:
        raise NoExample(f"{where}: {error}", error.reason) from error
    except RowError as error:
        raise RowError(f"{where} (keys {keys(row)}) is not a row of format '{known.name}': {error}") from error
    except Exception as error:
        place = f"{where} (keys {keys(row)})"
        raise PluginError(f"format '{known.name}' failed in convert() on {place}: {raised(error)}") from error
    examples: tuple[Example, ...] = found if isinstance(found, tuple) and found else (found,)  # type: ignore[assignment]
    if wrong := [example for example in examples if not isinstance(example, KINDS[known.kind])]:
        raise PluginError(
            f"format '{known.name}' promises {known.kind} examples, but its convert() made {type(wrong[0]).__name__} "
            f"of {where} (keys {keys(row)}); it returns a {KINDS[known.kind].__name__} (burnish.data.examples) or several"
        )
    return examples


def keys(row: Row) -> str:
    """The row's keys, for messages."""
    return ", ".join(map(str, row)) or "none"


def _installed(registry: Registry) -> tuple[list[Format], list[PluginError]]:
    """All formats that can be imported, and what is wrong with the others."""
    formats, failed = [], []
    for record in registry.records(FormatRecord):
        try:
            formats.append(load_format(record.name, registry))
        except PluginError as error:
            failed.append(error)
    return formats, failed


def _sniff(known: Format, row: Row, index: int, location: Location) -> float:
    try:
        return float(known.sniff(row))
    except Exception as error:
        raise PluginError(
            f"format '{known.name}' failed in sniff() on {location(index)} (keys {keys(row)}): {raised(error)}. "
            "With `format: NAME` no other format is asked."
        ) from error


def _nobody(row: Row, where: str, formats: Sequence[Format]) -> str:
    nearly = "".join(f" As {known.name}: {what}." for known in formats if (what := _nearly(known, row)) is not None)
    return (
        f"no format knows rows with keys {keys(row)} (first: {where}).{nearly} "
        f"{_several_in_one(row)}Rename them with `columns: {{prompt: question}}`, or name a format. "
        f"Known: {', '.join(sorted(known.name for known in formats))}."
    )


def _several_in_one(row: Row) -> str:
    """What to do about a table that was cut in the wrong places, '' for any other row."""
    only = str(next(iter(row))) if len(row) == 1 else ""
    mark = next((mark for mark in (";", "\t", "|", ",") if mark in only), None)
    return "" if mark is None else f"If this is one column too few, set `delimiter: {mark!r}`. "


def _nearly(known: Format, row: Row) -> str | None:
    """What is wrong with a row that has all columns of a format told by them."""
    columns = getattr(known, "columns", ())
    if not columns or any(row.get(name) is None for name in columns):
        return None
    try:
        known.convert(row)
    except RowError as error:
        return str(error)
    return None


def _mixed(rows: Sequence[Row], odd: Sequence[int], best: Format, likely: Sequence[Format], location: Location) -> str:
    lines = [f"rows of several forms: {len(rows) - len(odd)} of {len(rows)} rows looked at are {best.name}, {len(odd)} are not"]
    for index in odd[:SHOWN]:
        looks = f"keys {keys(rows[index])}, looks like {likely[index].name}"
        lines.append(f"  {location(index)}: {looks}; expected {_expects(best, rows[index])}")
    if len(odd) > SHOWN:
        lines.append(f"  and {len(odd) - SHOWN} more")
    lines.append("Split them into two sources, name one `format:`, or mend the rows.")
    return "\n".join(lines)


def _expects(best: Format, row: Row) -> str:
    """What the format misses in this row."""
    try:
        best.convert(row)
    except RowError as error:
        return str(error).removeprefix("expected ")
    except Exception as error:
        return f"a row of format {best.name} ({type(error).__name__}: {error})"
    return f"a row of format {best.name}"

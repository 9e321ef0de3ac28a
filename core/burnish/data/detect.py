"""Which format a source's rows have, told from many of them. In: rows, the registry. Out: one format, or what disagrees.

Knows formats only by their protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from burnish.data.examples import Example, Row, RowError
from burnish.data.formats import Format
from burnish.errors import DataError, PluginError

if TYPE_CHECKING:
    from burnish.registry import Registry

Location = Callable[[int], str]
SHOWN = 5


def row_number(index: int) -> str:
    """Where a row is when nothing better is known."""
    return f"row {index}"


def detect_format(
    rows: Iterable[Row], registry: Registry, name: str = "auto", location: Location = row_number
) -> Format:
    """The format of `rows`: the one called `name`, or with `auto` the one that explains most columns of all of them.

    location: index -> where that row is. Errors: no rows; no format knows them; rows of several formats, each with its place,
    its keys and what was expected; two formats that fit equally well.
    """
    rows = list(rows)
    if not rows:
        raise DataError("there are no rows: the source is empty")
    if name != "auto":
        return load_format(name, registry)
    formats = [load_format(record.name, registry) for record in registry.records("format")]
    scores = {known.name: [_sniff(known, row, index, location) for index, row in enumerate(rows)] for known in formats}
    fits = {known.name: sum(score > 0 for score in scores[known.name]) for known in formats}
    best = max(formats, key=lambda known: (fits[known.name], sum(scores[known.name]), known.name), default=None)
    if best is None or not fits[best.name]:
        raise DataError(_nobody(rows[0], location(0), formats))
    odd = [index for index, score in enumerate(scores[best.name]) if not score > 0]
    if odd:
        raise DataError(_mixed(rows, odd, best, formats, location))
    rivals = [known.name for known in formats if known is not best
              and (fits[known.name], sum(scores[known.name])) == (fits[best.name], sum(scores[best.name]))]
    if rivals:
        raise DataError(f"the rows fit {' and '.join(sorted([best.name, *rivals]))} equally well; say which with `format:`")
    return best


def load_format(name: str, registry: Registry) -> Format:
    """The format called `name`, or the object that `module:attr` or `./file.py:attr` names."""
    target = registry.custom(name) if ":" in name else registry.resolve(registry.get("format", name))
    found = target() if isinstance(target, type) else target
    if not isinstance(found, Format):
        raise PluginError(f"'{name}' is not a format: {found!r} lacks one of name, kind, sniff(row), convert(row)")
    return found


def convert(known: Format, row: Row, where: str) -> Example:
    """The example in `row`; a format that raises anything but `RowError` is named together with the row."""
    try:
        return known.convert(row)
    except RowError as error:
        raise RowError(f"{where} (keys {keys(row)}) is not a row of format '{known.name}': {error}") from error
    except Exception as error:
        raise PluginError(
            f"format '{known.name}' ({type(known).__module__}) failed in convert() on {where} (keys {keys(row)}): "
            f"{type(error).__name__}: {error}"
        ) from error


def keys(row: Row) -> str:
    """The row's keys, for messages."""
    return ", ".join(map(str, row)) or "none"


def _sniff(known: Format, row: Row, index: int, location: Location) -> float:
    try:
        return float(known.sniff(row))
    except Exception as error:
        raise PluginError(
            f"format '{known.name}' ({type(known).__module__}) failed in sniff() on {location(index)} (keys {keys(row)}): "
            f"{type(error).__name__}: {error}"
        ) from error


def _nobody(row: Row, where: str, formats: Sequence[Format]) -> str:
    return (f"no format knows rows with keys {keys(row)} (first: {where}). Rename them with `columns: {{prompt: question}}`, "
            f"or name a format. Known: {', '.join(sorted(known.name for known in formats))}.")


def _mixed(rows: Sequence[Row], odd: Sequence[int], best: Format, formats: Sequence[Format], location: Location) -> str:
    lines = [f"rows of several forms: {len(rows) - len(odd)} of {len(rows)} rows looked at are {best.name}, {len(odd)} are not"]
    for index in odd[:SHOWN]:
        other = max(formats, key=lambda known: float(known.sniff(rows[index])))
        looks = f", looks like {other.name}" if other.sniff(rows[index]) else ""
        lines.append(f"  {location(index)}: keys {keys(rows[index])}{looks}; expected {_expects(best, rows[index])}")
    if len(odd) > SHOWN:
        lines.append(f"  and {len(odd) - SHOWN} more")
    lines.append("Split them into two sources, or mend the rows.")
    return "\n".join(lines)


def _expects(best: Format, row: Row) -> str:
    """What the format says it misses in this row."""
    try:
        best.convert(row)
    except RowError as error:
        return str(error).removeprefix("expected ")
    except Exception:
        return f"a row of format {best.name}"
    return f"a row of format {best.name}"

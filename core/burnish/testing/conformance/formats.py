"""`check_format`: what every format must hold. In: a format by name, class or object. Out: a report."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from burnish.data.detect import convert, detect_format, load_format, row_number
from burnish.data.examples import NoExample, RowError
from burnish.data.formats import Format
from burnish.errors import BurnishError, PluginError
from burnish.registry import FormatRecord, Registry
from burnish.testing.conformance.checking import Broken, Check, Rows, run_checks
from burnish.testing.conformance.contract import broken, contract
from burnish.testing.conformance.report import Report, Result
from burnish.testing.conformance.rows import units_from
from burnish.testing.conformance.subject import installed, title_of

ODD_VALUES: tuple[object, ...] = (None, 3.5, [], {}, [3], {"role": 1})


@dataclass(frozen=True)
class Recognised:
    """A format, and rows of its form. name: that it is registered by, empty for one that is not."""

    known: Format
    name: str
    registry: Registry


def check_format(known: Any, *, examples: Rows | None = None) -> Report:
    """All that a format must hold. known: a registered name, `module:attr`, a class or an object. examples: raw rows of its
    form, beside those that its record names."""
    registry = installed()
    title, kept = title_of(FormatRecord.word, known), contract(FormatRecord, known, registry)
    if not kept.passed:
        return Report(title, (kept,))
    try:
        subject = _recognised(known, registry)
        rows = [*_own_examples(subject), *(examples or ())]
    except BurnishError as error:
        return Report(title, (broken(error),))
    if not rows:
        cause = "a format that no record names has no examples of its own"
        return Report(title, (kept, Result("examples", False, "there are no example rows", cause=cause)))
    return Report(title, (kept, *run_checks(subject, CHECKS, [rows])))


def converts(subject: Recognised, rows: Rows) -> None:
    """Every example row becomes examples of the kind that is promised, from which sequences can be made; twice the same."""
    for place, row in enumerate(rows):
        before = copy.deepcopy(row)
        try:
            found, again = (convert(subject.known, row, row_number(place)) for _ in range(2))
        except NoExample as error:
            raise Broken(f"row {place} of its own examples holds no example: {error}") from error
        if row != before:
            raise Broken(f"convert() changed row {place}")
        if found != again:
            raise Broken(f"row {place} is {found} first and {again} then")
        units_from(found, chat=True)


def sniffs(subject: Recognised, rows: Rows) -> None:
    """Its examples are recognised as its own and as nobody else's."""
    for place, row in enumerate(rows):
        if not subject.known.sniff(row) > 0:
            raise Broken(f"sniff() does not know row {place}")
    if subject.name and (found := detect_format(rows, subject.registry).name) != subject.known.name:
        raise Broken(f"its examples are taken for rows of '{found}'")


def modest(subject: Recognised, _: Rows) -> None:
    """Other formats' examples are not claimed: not as surely as by their own."""
    for record in subject.registry.records(FormatRecord):
        if record.name == subject.name:
            continue
        other = load_format(record.name, subject.registry)
        for row in subject.registry.resolve(record, record.examples):
            claimed, owned = float(subject.known.sniff(row)), float(other.sniff(row))
            if claimed >= owned:
                raise Broken(f"sniff() gives {claimed:g} for a row of '{record.name}', which itself gives {owned:g}: {row}")


def refuses(subject: Recognised, rows: Rows) -> None:
    """Rows that lack something, or hold something odd, are refused with a RowError, or are examples; sniff never raises."""
    for row in rows:
        spoilt: list[dict[Any, Any]] = [{}, {"unknown": 1}]
        spoilt += [{name: value for name, value in row.items() if name != column} for column in row]
        spoilt += [{**row, column: odd} for column in row for odd in ODD_VALUES]
        for wrong in spoilt:
            _refused(subject, wrong)
    if not any(_is_refused(subject, wrong) for wrong in ({}, {"unknown": 1})):
        raise Broken("a row without any column is accepted")


def names(subject: Recognised, _: Rows) -> None:
    """Name and kind are those of its record."""
    if not subject.name:
        return
    record = subject.registry.get(FormatRecord, subject.name)
    if (record.name, record.kind) != (subject.known.name, subject.known.kind):
        raise Broken(f"it calls itself {subject.known.name}, {subject.known.kind}; its record {record.name}, {record.kind}")


CHECKS: tuple[Check[Recognised], ...] = (
    Check("names", "a class that was renamed without its record", names, on_rows=False),
    Check("converts", "a row that is changed in place, or an example of another kind", converts),
    Check("sniffs", "a column that is looked for under another name", sniffs),
    Check("modest", "sniff() looks at columns that many forms have", modest, on_rows=False),
    Check("row errors", "row[...] of a column that may be missing: say what was expected with RowError", refuses),
)


def _recognised(given: Any, registry: Registry) -> Recognised:
    if isinstance(given, str):
        named = any(record.name == given for record in registry.records(FormatRecord))
        return Recognised(load_format(given, registry), given if named else "", registry)
    known = given() if isinstance(given, type) else given
    if not isinstance(known, Format):
        raise PluginError(f"{known!r} is not a format: it lacks one of name, kind, sniff(row), convert(row)")
    target = f"{type(known).__module__}:{type(known).__qualname__}"
    name = next((record.name for record in registry.records(FormatRecord) if record.target == target), "")
    return Recognised(known, name, registry)


def _own_examples(subject: Recognised) -> Rows:
    if not subject.name:
        return []
    record = subject.registry.get(FormatRecord, subject.name)
    return list(subject.registry.resolve(record, record.examples))


def _refused(subject: Recognised, row: dict[Any, Any]) -> None:
    try:
        subject.known.sniff(row)
    except Exception as error:
        raise Broken(f"sniff() raised {type(error).__name__}: {error} on {row}") from error
    try:
        convert(subject.known, row, "the row")
    except RowError:
        return
    except PluginError as error:
        raise Broken(f"{error}; on {row}") from error


def _is_refused(subject: Recognised, row: dict[Any, Any]) -> bool:
    try:
        subject.known.convert(row)
    except RowError:
        return True
    return False

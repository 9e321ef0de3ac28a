"""One source made ready: rows read, converted, rendered, counted and cached. In: a source's section. Out: units and a report.

Knows one source; mixing is not its business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from burnish.data import cache, split
from burnish.data.detect import convert, detect_format
from burnish.data.examples import Example, Row, RowError
from burnish.data.formats import Format
from burnish.data.pairing import check_streaming, paired
from burnish.data.render import Rendered, Renderer
from burnish.data.report import SHOWN, SourceReport
from burnish.data.sources import Place, RowSource, open_source
from burnish.data.store import SCHEMA, Units, to_batch
from burnish.data.units import Unit
from burnish.errors import DataError
from burnish.registry.kinds import kind_after
from burnish.registry.sources import source_file

if TYPE_CHECKING:
    from burnish.config.sections import SourceSection
    from burnish.registry import Registry

CHUNK = 512
LOOKED_AT = 1000
REMEDIES = {
    "over_length": "Raise render.max_length, or set render.overlength to truncate.",
    "no_targets": "A row needs an answer to learn: `burnish data show` prints rows with what is trained on marked.",
}


@dataclass(frozen=True)
class Reader:
    """The examples of one source: its rows, its format, and what to do with a row that has another."""

    name: str
    source: RowSource
    format: Format
    limit: int | None
    drop_bad: bool
    pairing: str | None = None

    @property
    def kind(self) -> str:
        """The kind of its examples."""
        return kind_after(self.pairing, self.format.kind)

    def examples(self) -> Iterator[tuple[Place, Example | RowError]]:
        """Every example with its place, and what is wrong with rows that are none."""
        return paired(self._converted(), self.pairing, self.format.kind)

    def _converted(self) -> Iterator[tuple[Place, Example | RowError]]:
        for place, row in islice(self.source, self.limit):
            try:
                examples = convert(self.format, row, str(place))
            except RowError as error:
                yield place, error
            else:
                yield from ((replace(place, part=part) if part else place, one) for part, one in enumerate(examples))

    def report(self) -> SourceReport:
        """An empty report."""
        return SourceReport(self.name, self.format.name, self.kind, self.pairing)

    @cached_property
    def identity(self) -> tuple[str, ...]:
        """What the examples depend on."""
        code = source_file(type(self.format).__module__)
        text = code.read_text(encoding="utf-8") if code else ""
        return (self.source.name, self.source.fingerprint(), self.format.name, text, str(self.limit), str(self.pairing))


def open_reader(name: str, section: SourceSection, registry: Registry, live: Iterable[Row] | None = None) -> Reader:
    """The reader of a section's rows, or of the live ones; its format is told from the first `LOOKED_AT`.

    DataError where there are no rows, no format knows them, or they cannot be paired as the section says.
    """
    source, drop_bad = open_source(section, registry, live), section.bad_rows == "drop"
    looked_at = list(islice(source, LOOKED_AT if section.limit is None else min(section.limit, LOOKED_AT)))
    if not looked_at:
        read = "" if source.sketch == source.name else f": it is {source.sketch}"
        raise DataError(f"data.{name}: {source.name} has no rows{read}")
    places = [str(place) for place, _ in looked_at]
    try:
        known = detect_format([row for _, row in looked_at], registry, section.format, places.__getitem__, mixed=drop_bad)
    except DataError as error:
        raise DataError(f"data.{name}: {error}") from error
    try:
        kind_after(section.pairing, known.kind)
        if section.streaming:
            check_streaming(section.pairing, known.kind)
    except DataError as error:
        raise DataError(f"data.{name}.{error}") from error
    return Reader(name, source, known, section.limit, drop_bad, section.pairing)


def held_out_section(section: SourceSection, holdout: str, known: Format) -> SourceSection:
    """The section of the held-out rows: another split of the same source when `holdout` is a bare word, else another source."""
    place = {"split": holdout} if holdout.isidentifier() else {"source": holdout}
    return section.model_copy(update={**place, "limit": None, "format": known.name})


@dataclass(frozen=True)
class Prepared:
    """A source that was read whole. units: what trains; held_out: what evaluates."""

    units: Units
    held_out: Units
    report: SourceReport


def prepare(reader: Reader, renderer: Renderer, fraction: float = 0.0) -> Prepared:
    """Reads and renders all rows, or takes the tokens from the cache. fraction: how much of them is held out."""
    table, report = _cached(reader, renderer) if renderer.section.cache else _render_all(reader, renderer)
    refuse_rows(reader, renderer, report)
    _refuse_lessons(report)
    held = split.held_out(table["draw"].to_numpy(), fraction) if fraction else np.zeros(len(table), dtype=np.bool_)
    units, held_out = (Units(table, reader.name, np.flatnonzero(rows)) for rows in (~held, held))
    if not len(units):
        raise DataError(f"data.{reader.name}: holding out {fraction} of {len(table)} rows leaves none to train on")
    report.kept, report.held_out = len(units), len(held_out)
    report.tokens, report.targets = int(units.column("num_tokens").sum()), int(units.column("num_targets").sum())
    return Prepared(units, held_out, report)


def refuse_rows(reader: Reader, renderer: Renderer, report: SourceReport) -> None:
    """Refuses rows that may not be dropped."""
    bad, over = report.dropped["bad_row"], report.dropped["over_length"]
    if bad and not reader.drop_bad:
        more = [f"and {bad - SHOWN} more"] if bad > SHOWN else []
        found = "\n  ".join([f"{bad} of {report.rows} rows cannot be used:", *report.seen["bad_row"], *more])
        raise DataError(f"data.{report.name}: {found}\nMend them, or set data.{report.name}.bad_rows to drop.")
    if over and renderer.section.overlength == "error":
        seen = "; ".join(report.seen["over_length"])
        raise DataError(f"data.{report.name}: {over} of {report.rows} rows are too long: {seen}\n{REMEDIES['over_length']}")


def _refuse_lessons(report: SourceReport) -> None:
    """Refuses a source that teaches nothing."""
    left = report.rows - report.dropped.total()
    if not left:
        _, *reasons = report.lines()
        remedies = [REMEDIES[reason] for reason in report.dropped if reason in REMEDIES]
        raise DataError("\n".join([f"data.{report.name}: no row is left of {report.rows}:", *reasons, *remedies]))
    if report.notes["chosen_is_rejected"] == left:
        raise DataError(f"data.{report.name}: chosen equals rejected in all {left} rows; there is no preference to learn")


def render_chunks(reader: Reader, renderer: Renderer) -> Iterator[list[tuple[Place, Example | RowError, Rendered]]]:
    """All rows in chunks, each row with its example and what became of it."""
    rows = reader.examples()
    while chunk := list(islice(rows, CHUNK)):
        yield render_chunk(chunk, renderer, reader.name)


def render_chunk(
    chunk: list[tuple[Place, Example | RowError]], renderer: Renderer, name: str
) -> list[tuple[Place, Example | RowError, Rendered]]:
    """Renders the rows that are examples, all at once; what is wrong with the others, or comes out while rendering, is kept."""
    good = [(place, example) for place, example in chunk if not isinstance(example, RowError)]
    done = iter(renderer.render_many([example for _, example in good], name, [place.index for place, _ in good]))
    return [
        (place, example, Rendered(example) if isinstance(example, RowError) else _placed(next(done), place))
        for place, example in chunk
    ]


def _placed(rendered: Rendered, place: Place) -> Rendered:
    """Errors of rendering with the row's place, and units with the part of the row that they are."""
    if isinstance(rendered.result, RowError):
        return Rendered(RowError(f"{place}: {rendered.result}"))
    if place.part and isinstance(rendered.result, Unit):
        return replace(rendered, result=replace(rendered.result, part=place.part))
    return rendered


def _cached(reader: Reader, renderer: Renderer) -> tuple[pa.Table, SourceReport]:
    """All units and the report, from the cache where they are in it."""
    folder, section = cache.cache_folder(), renderer.section
    how = (section.max_length, section.overlength, section.step_separator)
    key = cache.cache_key(*reader.identity, cache.tokenizer_hash(renderer.tokenizer), *how)
    found = cache.load(folder, key)
    if found is not None:
        return found[0], SourceReport.from_json({**found[1], "name": reader.name})
    table, report = _render_all(reader, renderer)
    cache.store(folder, key, table, report.to_json())
    return table, report


def _render_all(reader: Reader, renderer: Renderer) -> tuple[pa.Table, SourceReport]:
    """All units and the report, from the rows."""
    report, batches = reader.report(), []
    for chunk in render_chunks(reader, renderer):
        units: list[Unit] = []
        draws: list[float] = []
        for place, example, rendered in chunk:
            report.count(place, rendered)
            if isinstance(rendered.result, Unit) and not isinstance(example, RowError):
                units.append(rendered.result)
                draws.append(split.draw(example))
        batches.append(to_batch(units, draws))
    return pa.Table.from_batches(batches, SCHEMA), report

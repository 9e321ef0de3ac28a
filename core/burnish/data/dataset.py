"""What a run trains and evaluates on: all sources of a config as global batches and held-out units. In: config, tokenizer. Out:
`TrainData`.

May not know: models, losses, ranks. The main process should build it first, so that the others find the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any, TypeAlias

from burnish.data import stream
from burnish.data.examples import Example, Row, RowError
from burnish.data.mixture import Cursor, Mixture, Share, SizedDraws
from burnish.data.prepare import Reader, held_out_section, open_reader, prepare, render_chunk
from burnish.data.render import Renderer
from burnish.data.report import DataReport, SourceReport
from burnish.data.units import Unit
from burnish.errors import DataError

if TYPE_CHECKING:
    from burnish.config.sections import Sections, SourceSection
    from burnish.registry import Registry

__all__ = ["Cursor", "TrainData", "build_dataset"]

RowPlace: TypeAlias = tuple[str, int, int]
"""A source, a row of it, and which of the examples that were made of the row."""


@dataclass(frozen=True)
class _Source:
    """One source of the config. The held-out units' reader may be another than the source's own; it then has a report too."""

    share: Share
    reader: Reader
    report: SourceReport
    held_out: list[Unit]
    held_reader: Reader
    held_report: SourceReport | None = None


class TrainData:
    """Batches without end, held-out units and rows, and the counts of everything read."""

    def __init__(self, sources: Mapping[str, _Source], batch_size: int) -> None:
        self._sources = sources
        self._mixture = Mixture([source.share for source in sources.values()], batch_size)

    def units(self, start: Cursor) -> Iterator[tuple[list[Unit], Cursor]]:
        """Global batches from `start` on, each with the cursor after it; a function of (seed, start). None spans two epochs."""
        return self._mixture.batches(start)

    def steps(self, epochs: float) -> int | None:
        """How many batches so many epochs are; None when a source is streamed."""
        return self._mixture.steps(epochs)

    @property
    def steps_per_epoch(self) -> int | None:
        """Batches of the first epoch; None when a source is streamed."""
        return self.steps(1)

    def only(self, names: Iterable[str], batch_size: int) -> TrainData:
        """The same data, of these sources alone, in batches of another size."""
        return TrainData({name: self._sources[name] for name in names}, batch_size)

    def examples(self) -> dict[RowPlace, Example]:
        """All examples by source, row and part, but for those of streams; reads the sources again."""
        sized = [source for source in self._sources.values() if source.share.size is not None]
        return {place: example for source in sized for place, example in _placed(source.reader)}

    def streamed(self, places: Collection[RowPlace]) -> dict[RowPlace, Example]:
        """Those of `places` that lie in streams; reads these again, each as far as the last row that is wanted.

        DataError where a row is not there any more.
        """
        found: dict[RowPlace, Example] = {}
        for name, source in self._sources.items():
            wanted = {place for place in places if place[0] == name and source.share.size is None}
            found |= _among(_placed(source.reader), wanted)
            if missing := sorted(wanted - found.keys()):
                raise DataError(
                    f"data.{name}: row {missing[0][1]} was drawn before, and reading the stream again does not bring it: a "
                    "stream must give the same rows each time it is read"
                )
        return found

    @property
    def kinds(self) -> dict[str, str]:
        """The canonical kind of each source."""
        return {name: source.report.kind for name, source in self._sources.items()}

    @property
    def report(self) -> DataReport:
        """What became of all rows; of a stream, of those read so far."""
        apart = {name: source.held_report for name, source in self._sources.items() if source.held_report is not None}
        return DataReport({name: source.report for name, source in self._sources.items()}, apart)

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """A hash of each source's content, to tell at resume whether it has changed; of a stream only names and sizes."""
        return {
            name: source.reader.source.sketch if source.share.size is None else source.reader.source.fingerprint()
            for name, source in self._sources.items()
        }

    @property
    def holdout(self) -> dict[str, list[Unit]]:
        """The held-out units of each source that has any."""
        return {name: source.held_out for name, source in self._sources.items() if source.held_out}

    @cached_property
    def holdout_rows(self) -> dict[str, list[Example]]:
        """The examples behind `holdout`, in the same order; reads the sources again."""
        return {name: list(_examples(self._sources[name].held_reader, units)) for name, units in self.holdout.items()}


def build_dataset(
    config: Sections,
    tokenizer: Any,
    registry: Registry,
    data: Mapping[str, Iterable[Row]] | None = None,
    accept: Callable[[Mapping[str, str]], None] | None = None,
) -> TrainData:
    """Reads, tokenises and splits every source in `config.data`.

    data: live rows that take the place of a source's own. accept: is told the kind of each source before any is tokenised, and
    raises where that is not what is needed.
    """
    if not config.data:
        raise DataError("the config names no data: give `data: {main: {source: ...}}`")
    unknown = sorted(set(data or {}) - set(config.data))
    if unknown:
        raise DataError(f"rows were given for source '{unknown[0]}', which the config does not have: {', '.join(config.data)}")
    for name in data or {}:
        holdout = config.data[name].holdout
        if isinstance(holdout, str) and holdout.isidentifier():
            raise DataError(f"data.{name}.holdout: given rows have no split '{holdout}'; hold out a fraction, or name a file")
    readers = {name: open_reader(name, section, registry, (data or {}).get(name)) for name, section in config.data.items()}
    if accept is not None:
        accept({name: reader.kind for name, reader in readers.items()})
    renderer = Renderer(tokenizer, config.render)
    seed = config.train.seed
    sources = {name: _open(reader, config.data[name], renderer, registry, seed) for name, reader in readers.items()}
    return TrainData(sources, config.train.batch_size)


def _open(reader: Reader, section: SourceSection, renderer: Renderer, registry: Registry, seed: int) -> _Source:
    name, held_report = reader.name, None
    fraction = 0.0 if isinstance(section.holdout, str) else section.holdout or 0.0
    if section.streaming:
        report = reader.report()
        held_reader, held_out = reader, _held_of_stream(reader, renderer, fraction)
        start = partial(stream.StreamDraws, reader, renderer, seed, section.shuffle_buffer, fraction, report)
        share = Share(name, section.weight, None, start)
    else:
        prepared = prepare(reader, renderer, fraction)
        report, held_reader, held_out = prepared.report, reader, list(prepared.held_out)
        share = Share(name, section.weight, len(prepared.units), partial(SizedDraws, prepared.units, name, seed))
    if isinstance(section.holdout, str):
        held_reader = open_reader(name, held_out_section(section, section.holdout, reader.format), registry)
        apart = prepare(held_reader, renderer)
        held_out, held_report = list(apart.units), apart.report
    report.held_out = len(held_out)
    return _Source(share, reader, report, held_out, held_reader, held_report)


def _held_of_stream(reader: Reader, renderer: Renderer, fraction: float) -> list[Unit]:
    rows = list(stream.held_out(reader, fraction)) if fraction else []
    rendered = render_chunk([*rows], renderer, reader.name)
    return [one.result for _, _, one in rendered if isinstance(one.result, Unit)]


def _placed(reader: Reader) -> Iterator[tuple[RowPlace, Example]]:
    for place, example in reader.examples():
        if not isinstance(example, RowError):
            yield (reader.name, place.index, place.part), example


def _among(rows: Iterator[tuple[RowPlace, Example]], wanted: Collection[RowPlace]) -> dict[RowPlace, Example]:
    """Those that are wanted; reads no further than to the last of them."""
    last = max((row for _, row, _ in wanted), default=-1)
    near = takewhile(lambda one: one[0][1] <= last, rows) if wanted else ()
    return {place: example for place, example in near if place in wanted}


def _examples(reader: Reader, units: list[Unit]) -> Iterator[Example]:
    """The examples of units that stand in the order of their rows; reads no further than to the last of them."""
    wanted = [*reversed(units)]
    for (_, row, part), example in _placed(reader) if wanted else ():
        if (row, part) == (wanted[-1].row, wanted[-1].part):
            yield example
            wanted.pop()
            if not wanted:
                return

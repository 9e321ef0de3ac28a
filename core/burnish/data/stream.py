"""A source read as a stream: nothing is held but a shuffle buffer. In: a reader, a renderer. Out: draws of a mixture.

The order is a function of (seed, pass): a stream is resumed by reading the rows of its pass again, without rendering them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np

from burnish.data import split
from burnish.data.examples import Example, RowError
from burnish.data.mixture import SourceCursor, generator
from burnish.data.prepare import Reader, refuse_rows, render_chunk
from burnish.data.render import Renderer
from burnish.data.report import SourceReport
from burnish.data.sources import Place
from burnish.data.units import Unit
from burnish.errors import DataError

T = TypeVar("T")
AHEAD = 32
HELD_OUT_FROM = 10_000


@dataclass(frozen=True, eq=False)
class Streamed(Unit):
    """A unit of a stream, with the example that it was made of: a row that has gone by is had again only by reading all rows
    before it."""

    example: Example | None = None


def shuffled(items: Iterable[T], buffer_size: int, random: np.random.Generator) -> Iterator[T]:
    """All items, each drawn from the `buffer_size` that are at hand."""
    waiting = iter(items)
    buffer = list(islice(waiting, buffer_size))
    for item in waiting:
        place = int(random.integers(len(buffer)))
        yield buffer[place]
        buffer[place] = item
    random.shuffle(buffer)
    yield from buffer


class StreamDraws:
    """Draws from a stream. One unit is read ahead, so that the end of a pass is known when its last unit is given."""

    def __init__(
        self,
        reader: Reader,
        renderer: Renderer,
        seed: int,
        buffer_size: int,
        fraction: float,
        report: SourceReport,
        start: SourceCursor,
    ) -> None:
        self._reader, self._renderer, self._seed, self._buffer_size = reader, renderer, seed, buffer_size
        self._fraction, self._report = fraction, report
        self.cursor = start
        self._pass = self._units(start)
        self._next = next(self._pass, None)
        if self._next is None:
            raise DataError(f"data.{reader.name}: no row is left to train on:\n" + "\n".join(report.lines()))

    def draw(self) -> Unit:
        """The next unit."""
        assert self._next is not None
        (position, unit), at = self._next, self.cursor
        self._report.kept += 1
        self._report.tokens += sum(len(sequence) for sequence in unit.sequences)
        self._report.targets += sum(int(sequence.masks["completion"].sum()) for sequence in unit.sequences)
        self.cursor = SourceCursor(at.passes, position, at.drawn + 1)
        self._next = next(self._pass, None)
        if self._next is None:
            self.cursor = SourceCursor(at.passes + 1, 0, at.drawn + 1)
            self._pass = self._units(self.cursor)
            self._next = next(self._pass)
        return unit

    def _units(self, start: SourceCursor) -> Iterator[tuple[int, Unit]]:
        """The units of one pass from a position on, each with the position after it. A position counts rows, used or not."""
        random = generator(self._seed, self._reader.name, start.passes)
        rows = islice(enumerate(shuffled(self._rows(), self._buffer_size, random), 1), start.position, None)
        while ahead := list(islice(rows, AHEAD)):
            for (position, _), (place, example, rendered) in zip(
                ahead, render_chunk([row for _, row in ahead], self._renderer, self._reader.name), strict=True
            ):
                self._report.count(place, rendered)
                refuse_rows(self._reader, self._renderer, self._report)
                if isinstance(unit := rendered.result, Unit) and not isinstance(example, RowError):
                    known = (unit.kind, unit.sequences, unit.source, unit.scalars, unit.row, unit.part)
                    yield position, Streamed(*known, example=example)

    def _rows(self) -> Iterator[tuple[Place, Example | RowError]]:
        for place, example in self._reader.examples():
            if isinstance(example, RowError) or not split.draw(example) < self._fraction:
                yield place, example


def held_out(reader: Reader, fraction: float) -> Iterator[tuple[Place, Example]]:
    """The held-out rows among the first of a stream; later rows that fall to the same side are not trained on either."""
    for place, example in islice(reader.examples(), HELD_OUT_FROM):
        if not isinstance(example, RowError) and split.draw(example) < fraction:
            yield place, example

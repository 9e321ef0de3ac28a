"""What became of a source's rows, counted: nothing is left out without being in here. Knows rows by their place only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from burnish.data.render import Dropped, Rendered
from burnish.data.units import Unit

SHOWN = 3
REASONS = {
    "over_length": "longer than render.max_length",
    "no_targets": "without a target token",
    "bad_row": "not of the source's format",
    "no_example": "without anything that their format makes an example of",
    "no_pair": "without a better or worse answer to their prompt",
}
NOTES = {
    "first_target_lost": "begin with a target that nothing precedes (no prompt and no BOS); it is not scored",
    "prompt_not_prefix": "have a prompt whose last token changes when the completion follows; the changed token is scored",
    "chosen_is_rejected": "have chosen == rejected: a tie teaches nothing",
    "no_end_of_turn": "do not end their answer with a special token: the model will not learn to stop",
    "truncated": "were cut to render.max_length",
    "tools_unseen": "have tools or tool calls that the chat template leaves out",
    "duplicate": "repeat an earlier row",
    "leaked": "ask what a held-out row asks",
}


@dataclass
class SourceReport:
    """Counts of one source. dropped: reason -> rows; notes: what was noticed -> rows; seen: reason or note -> some places.

    rows counts examples, of which a source's row may hold several. kept and held_out count units; tokens and targets are those
    of the kept ones.
    """

    name: str
    format: str
    kind: str
    pairing: str | None = None
    rows: int = 0
    kept: int = 0
    held_out: int = 0
    tokens: int = 0
    targets: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    seen: dict[str, list[str]] = field(default_factory=dict)

    def count(self, place: object, rendered: Rendered) -> None:
        """Adds what became of one row."""
        self.rows += 1
        for note in rendered.notes if isinstance(rendered.result, Unit) else ():
            self.note(note, place)
        if isinstance(rendered.result, Dropped):
            self.dropped[rendered.result.reason] += 1
            self._see(rendered.result.reason, f"{place}: {rendered.result.detail}")
        elif not isinstance(rendered.result, Unit):
            self.dropped[rendered.result.reason] += 1
            self._see(rendered.result.reason, str(rendered.result))

    def note(self, note: str, place: object) -> None:
        """Adds something noticed about a row."""
        self.notes[note] += 1
        self._see(note, str(place))

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a file."""
        return {**vars(self), "dropped": dict(self.dropped), "notes": dict(self.notes)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SourceReport:
        """The report that `to_json` wrote."""
        return cls(**{**values, "dropped": Counter(values["dropped"]), "notes": Counter(values["notes"])})

    def lines(self) -> Iterator[str]:
        """The report in words."""
        held = f", {self.held_out} held out" if self.held_out else ""
        yield (
            f"{self.name}: {self.rows} rows ({self.made_by}), {self.kept} for training{held}, "
            f"{self.tokens} tokens, {self.targets} of them targets"
        )
        yield from (f"  {count} dropped, {REASONS[reason]}: {self.places(reason)}" for reason, count in self.dropped.items())
        yield from (f"  {count} rows {NOTES[note]}: {self.places(note)}" for note, count in self.notes.items())

    @property
    def made_by(self) -> str:
        """The format, and how its rows were paired."""
        return self.format if self.pairing is None else f"{self.format}, pairing: {self.pairing}"

    def places(self, what: str) -> str:
        """Some of the places where a reason or note was found."""
        more = self.dropped[what] + self.notes[what] > SHOWN
        return "; ".join(self.seen[what]) + ("; ..." if more else "")

    def _see(self, what: str, place: str) -> None:
        if len(self.seen.setdefault(what, [])) < SHOWN:
            self.seen[what].append(place)


@dataclass
class DataReport:
    """The reports of all sources, by name, and of held-out rows that stand apart from them."""

    sources: dict[str, SourceReport]
    held_out: Mapping[str, SourceReport] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The reports in words; of rows that stand apart, what became of those that are not as they should be."""
        lines = [line for source in self.sources.values() for line in source.lines()]
        for name, report in self.held_out.items():
            _, *told = report.lines()
            lines += [f"{name}, held out: {report.kept} of {report.rows} rows are evaluated on", *told] if told else []
        return lines

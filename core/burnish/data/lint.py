"""What is wrong, or looks wrong, with a source's rows. In: a reader, a renderer. Out: findings, each an error or a warning.

An error is what makes rows useless or an evaluation false; a warning is what their owner may have meant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from burnish.data.examples import Example, RowError, Stepwise, Unpaired
from burnish.data.prepare import Reader, render_chunks
from burnish.data.render import Renderer
from burnish.data.report import NOTES, REASONS, SourceReport
from burnish.data.split import asked
from burnish.data.units import Unit

ERRORS = {"bad_row", "no_targets", "chosen_is_rejected", "no_end_of_turn", "tools_unseen", "leaked"}
MINORITY = 0.1


@dataclass(frozen=True)
class Finding:
    """One thing found, with how often and where."""

    level: Literal["error", "warning"]
    check: str
    text: str


def lint(reader: Reader, renderer: Renderer, held_out: Reader | None = None) -> tuple[SourceReport, list[Finding]]:
    """Reads and renders all rows. held_out: a source of rows for evaluation, whose prompts may not be among these."""
    report, seen, labels = reader.report(), set[str](), Counter[bool]()
    apart = held_out.examples() if held_out else ()
    kept_apart = {asked(example) for _, example in apart if not isinstance(example, RowError)}
    for place, example, rendered in (row for chunk in render_chunks(reader, renderer) for row in chunk):
        report.count(place, rendered)
        if isinstance(example, RowError):
            continue
        labels.update(_labels(example))
        if asked(example) in kept_apart:
            report.note("leaked", place)
        if isinstance(rendered.result, Unit):
            report.kept += 1
            if rendered.result.id in seen:
                report.note("duplicate", place)
            seen.add(rendered.result.id)
    return report, [*_found(report), *_imbalance(labels)]


def _found(report: SourceReport) -> Iterator[Finding]:
    for what, count in (*report.dropped.items(), *report.notes.items()):
        words = f"are {REASONS[what]}" if what in REASONS else NOTES[what]
        text = f"{count} of {report.rows} rows {words}: {report.places(what)}"
        yield Finding("error" if what in ERRORS else "warning", what, text)


def _labels(example: Example) -> tuple[bool, ...]:
    if isinstance(example, Unpaired):
        return (example.label,)
    return tuple(label > 0.5 for label in example.labels) if isinstance(example, Stepwise) else ()


def _imbalance(labels: Counter[bool]) -> Iterator[Finding]:
    share = labels[True] / labels.total() if labels else 0.5
    if min(share, 1 - share) < MINORITY:
        text = f"{share:.1%} of {labels.total()} labels are true: weigh the two sides, or the rarer one is hardly learnt"
        yield Finding("warning", "label_imbalance", text)

"""`burnish score`: what a trained reward model or process reward model thinks of rows, and how well it judges them."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from burnish.cli.generate import TrustRemoteCode

if TYPE_CHECKING:
    from burnish.data.examples import Example, Row
    from burnish.data.prepare import Reader
    from burnish.judging.evidence import Evidence

app = typer.Typer(add_completion=False, rich_markup_mode=None)
CHUNK = 64


@app.command()
def score(
    what: Annotated[str, typer.Argument(help="a run, a checkpoint, an adapter or a model folder: a reward model")],
    file: Annotated[str, typer.Argument(help="rows to score: a file, folder, hub id or plugin source")],
    out: Annotated[Path | None, typer.Option(help="write every row with its scores to this file (JSON lines)")] = None,
    aggregate: Annotated[str, typer.Option(help="score of a solution from its steps: product, min, last, mean")] = "product",
    format: Annotated[str, typer.Option(help="format of the rows; auto finds out")] = "auto",
    split: Annotated[str, typer.Option(help="split of a folder or hub id")] = "train",
    limit: Annotated[int | None, typer.Option(min=1, help="score so many rows at most")] = None,
    step: Annotated[int | None, typer.Option(help="the checkpoint of this step, instead of the final model")] = None,
    separator: Annotated[str | None, typer.Option(help="what ends a step; by default as the run was trained")] = None,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Score rows, and tell how well the model judges: preferences met, certainty earned, who wins, mistakes found."""
    from burnish import registry as plugins
    from burnish.config.sections import SourceSection
    from burnish.data.prepare import open_reader
    from burnish.errors import RunError
    from burnish.judging.classifier import Classifier
    from burnish.judging.evidence import Evidence
    from burnish.judging.steps import check_aggregate

    evidence = Evidence(check_aggregate(aggregate))
    if out is not None and out.exists():
        raise RunError(f"{out} exists; choose another file")
    registry = plugins.load()
    reader = open_reader("rows", SourceSection(source=file, format=format, split=split), registry)
    classifier = Classifier.open(what, registry, step, separator, overrides={"trust_remote_code": trust_remote_code})
    empty: Counter[str] = Counter()
    with _written(out) as sheet, _progress() as advance:
        rows = islice(_examples(reader, empty), limit)
        while chunk := list(islice(rows, CHUNK)):
            for (row, example), verdict in zip(chunk, classifier.judge([example for _, example in chunk]), strict=True):
                found = evidence.hear(example, verdict)
                if sheet is not None:
                    sheet.write(json.dumps({**row, **example.columns, **found}, ensure_ascii=False, default=str) + "\n")
            advance(len(chunk))
    evidence.left_out += empty
    evidence.count += empty.total()
    for line in summary(evidence, classifier.task == "sequence"):
        typer.echo(line)
    if out is not None:
        typer.echo(f"rows with their scores: {out}")


def summary(evidence: Evidence, are_log_odds: bool) -> Iterator[str]:
    """All that can be told. are_log_odds: a difference of two scores says how sure the model is."""
    scored = evidence.count - evidence.left_out.total()
    out = "".join(f"; {number} left out: {reason}" for reason, number in evidence.left_out.items())
    yield f"{scored} of {evidence.count} examples scored{out}"
    if evidence.scores:
        low, high, mean = min(evidence.scores), max(evidence.scores), sum(evidence.scores) / len(evidence.scores)
        yield f"scores from {low:.4g} to {high:.4g}, mean {mean:.4g}"
    yield from _preferences(evidence, are_log_odds)
    yield from _marks(evidence)
    yield from _mistakes(evidence)
    yield from _contest(evidence)


def _preferences(evidence: Evidence, are_log_odds: bool) -> Iterator[str]:
    from burnish.judging.contests import accuracy, calibration, calibration_error

    if not evidence.margins:
        return
    yield f"pair accuracy {accuracy(evidence.margins):.4f} ({len(evidence.margins)} pairs)"
    if are_log_odds:
        bins = calibration(evidence.margins)
        yield f"calibration error {calibration_error(bins):.4f}"
        yield f"  {'sigmoid(margin)':16}{'pairs':>8}{'said':>8}{'preferred':>11}"
        yield from (f"  {f'{b.low:.2f} to {b.high:.2f}':16}{b.count:>8}{b.said:>8.3f}{b.found:>11.3f}" for b in bins)


def _marks(evidence: Evidence) -> Iterator[str]:
    from burnish.judging.contests import auc, rank_correlation

    if evidence.rated and (correlation := rank_correlation(*zip(*evidence.rated, strict=True))) is not None:
        yield f"rank correlation with ratings {correlation:.4f}"
    if evidence.marked and (area := auc(*zip(*evidence.marked, strict=True))) is not None:
        yield f"AUC of good against bad answers {area:.4f}"


def _mistakes(evidence: Evidence) -> Iterator[str]:
    from burnish.judging.steps import FirstWrong, majority

    if evidence.true:
        found, most = FirstWrong.of(evidence.named, evidence.true), majority(evidence.true)
        clean = sum(one is None for one in evidence.true)
        yield f"first wrong step: precision {found.precision:.4f}, recall {found.recall:.4f}, F1 {found.f1:.4f}"
        yield f"  always the most frequent one: precision {most.precision:.4f}, recall {most.recall:.4f}, F1 {most.f1:.4f}"
        yield f"  of {clean} solutions without one, {found.right:.1%} were found to have none"


def _contest(evidence: Evidence) -> Iterator[str]:
    from burnish.judging.evidence import WRITERS

    if not (table := evidence.standings()):
        yield (
            "no Elo table: that takes answers of several writers to one prompt, named in a column "
            f"{' or '.join(WRITERS)}; of a pair in chosen_{WRITERS[0]} and rejected_{WRITERS[0]}"
        )
        return
    width = max(len(row.name) for row in table)
    yield "Elo by the scores"
    yield from (f"  {row.name:{width}}{row.elo:>8.0f}{row.wins:>10.1f} of {row.games} won" for row in table)


def _examples(reader: Reader, empty: Counter[str]) -> Iterator[tuple[Row, Example]]:
    """Every example with its row; rows that hold none are counted in `empty`."""
    from burnish.data.detect import convert
    from burnish.data.examples import NoExample

    for place, row in reader.source:
        try:
            yield from ((row, example) for example in convert(reader.format, row, str(place)))
        except NoExample as error:
            empty[error.reason] += 1


@contextmanager
def _written(out: Path | None) -> Iterator[TextIO | None]:
    """A file that is there when all is written, and not before; None for none."""
    from burnish.errors import RunError

    if out is None:
        yield None
        return
    partial = out.with_name(f"{out.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as sheet:
            yield sheet
        os.replace(partial, out)
    except OSError as error:
        raise RunError(f"{out} cannot be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """Counts rows on a terminal; elsewhere it is silent."""
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    shown = TextColumn("{task.completed:.0f} examples scored")
    with Progress(shown, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda number: bar.advance(task, number)

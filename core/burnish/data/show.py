"""Rows as a model sees them: tokens as text, targets marked. In: rendered rows. Out: lines for a rich console."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.text import Text

from burnish.data.render import Rendered
from burnish.data.report import NOTES
from burnish.data.sources import Place
from burnish.data.units import Sequence, Unit
from burnish.errors import ObjectiveError, did_you_mean

TARGET = "black on green"
OPEN, CLOSE = "⟦", "⟧"


def show_row(place: Place, rendered: Rendered, tokenizer: Any, mask: str, colour: bool) -> Iterator[Text]:
    """One row: where it stands, what was noticed, and every sequence. colour: mark targets by colour, else by ⟦ ⟧."""
    if not isinstance(rendered.result, Unit):
        yield Text(f"{place}  not used: {getattr(rendered.result, 'detail', rendered.result)}", style="bold red")
        return
    unit = rendered.result
    numbers = "".join(f"  {name} {value:g}" for name, value in unit.scalars.items())
    yield Text(f"{place}  {unit.kind}{numbers}", style="bold")
    yield from (Text(f"note: such rows {NOTES[note]}", style="yellow") for note in rendered.notes)
    for sequence in unit.sequences:
        yield _header(sequence, mask)
        yield _tokens(sequence, sequence.masks[mask], tokenizer, colour)


def _header(sequence: Sequence, mask: str) -> Text:
    if mask not in sequence.masks:
        raise ObjectiveError(f"these sequences have no mask '{mask}'. {did_you_mean(mask, sequence.masks)}")
    numbers = "".join(f", {name} {value:g}" for name, value in sequence.scalars.items())
    text = f"{sequence.role}: {len(sequence)} tokens, {int(sequence.masks[mask].sum())} targets{numbers}"
    return Text(text, style="cyan")


def _tokens(sequence: Sequence, targets: Any, tokenizer: Any, colour: bool) -> Text:
    """The text in runs of targets and others, so that characters of several tokens stay whole."""
    text = Text()
    edges = np.flatnonzero(np.diff(targets)) + 1
    for run in np.split(np.arange(len(sequence)), edges):
        words = tokenizer.decode(sequence.ids[run]) if len(run) else ""
        if len(run) and targets[run[0]]:
            text.append(words if colour else f"{OPEN}{words}{CLOSE}", style=TARGET if colour else None)
        else:
            text.append(words)
    return text

"""What happens when a loss or a gradient is not finite: skip, name who did it, stop when it goes on.

In: the numbers of one step. Out: a sentence about what broke, or an error that ends the run. Knows no model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from burnish.data.units import Unit
from burnish.errors import RunError

SHOWN = 8


def breakage(parts: Mapping[str, float], loss: float, grad_norm: float) -> str | None:
    """What is not finite (`the loss part 'dpo' (nan)`, `the gradient (inf)`), or None."""
    broken = [f"the loss part '{name}' ({value})" for name, value in parts.items() if not math.isfinite(value)]
    if broken:
        return " and ".join(broken)
    if not math.isfinite(loss):
        return f"the loss ({loss})"
    return None if math.isfinite(grad_norm) else f"the gradient ({grad_norm})"


def blame(units: Sequence[Unit], is_finite: Callable[[Unit], bool]) -> str:
    """Which of `units` break alone: `is_finite` scores one of them by itself."""
    guilty = [unit for unit in units if not is_finite(unit)]
    if not guilty:
        return "no example alone, only the batch as a whole"
    if len(guilty) == len(units) > 1:
        return f"every one of the {len(units)} examples alone: the weights, or a setting of the loss, are likely to blame"
    return named([(unit.source, unit.row) for unit in guilty])


def named(rows: Sequence[tuple[str, int]]) -> str:
    """Rows by source and number, the first few of them."""
    rows = sorted(set(rows))
    names = ", ".join(f"{source} row {row}" for source, row in rows[:SHOWN])
    return names + (f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else "")


@dataclass
class Guard:
    """Counts the updates skipped in a row and ends the run after `max_skipped` of them."""

    max_skipped: int
    skipped: int = 0

    def passed(self) -> None:
        """An update was made."""
        self.skipped = 0

    def skip(self, step: int, what: str, who: str) -> str:
        """An update was skipped; returns the sentence to show, or raises `RunError` when there were too many."""
        self.skipped += 1
        sentence = f"step {step}: {what} is not finite; made by {who}. The update is skipped"
        if self.skipped >= self.max_skipped:
            raise RunError(
                f"{sentence}, the {self.skipped}. in a row: the run stops (guard.max_skipped {self.max_skipped}). "
                "Look at these examples with `burnish data show`; try a lower optimizer.lr, or train.precision float32."
            )
        return f"{sentence} ({self.skipped} in a row, the run stops at {self.max_skipped})."

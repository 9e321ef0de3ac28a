"""BIG-Bench Mistake's form: `input`, `steps`, and `mistake_index`, the place of the first wrong step from 0, null for none."""

from __future__ import annotations

from typing import Any

from burnish.data.examples import Row, RowError, Stepwise
from burnish.data.formats.columns import TEXT, brief, list_of, side

STEPS = list_of(TEXT)
EXAMPLES: list[dict[str, Any]] = [
    {"input": "2 + 2 + 2 =", "steps": ["2 + 2 = 5", "5 + 2 = 7"], "answer": "7", "target": "6", "mistake_index": 0},
    {"input": "2 + 2 + 2 =", "steps": ["2 + 2 = 4", "4 + 2 = 6"], "answer": "6", "target": "6", "mistake_index": None},
]


class BigBenchMistake:
    """A chain of thought up to its first mistake; what follows was not judged."""

    name = "big-bench-mistake"
    kind = "stepwise"

    def sniff(self, row: Row) -> float:
        """3 when all three columns are there."""
        return 3.0 * (isinstance(row.get("input"), str) and STEPS.holds(row.get("steps")) and "mistake_index" in row)

    def convert(self, row: Row) -> Stepwise:
        """Steps before the mistake are right, the mistake is wrong, later ones are left out."""
        if not self.sniff(row):
            found = ", ".join(f"{name}: {brief(row.get(name))}" for name in ("input", "steps", "mistake_index"))
            raise RowError(f"expected a text in 'input', texts in 'steps', and 'mistake_index'; found {found}")
        steps, at = tuple(row["steps"]), row["mistake_index"]
        extra = side(row, ("input", "steps", "mistake_index"))
        if at is None:
            return Stepwise(row["input"], steps, (1.0,) * len(steps), side=extra)
        if not (isinstance(at, int) and 0 <= at < len(steps)):
            raise RowError(f"expected 'mistake_index' to be null or one of {len(steps)} steps from 0; found {brief(at)}")
        return Stepwise(row["input"], steps[: at + 1], (1.0,) * at + (0.0,), side=extra)

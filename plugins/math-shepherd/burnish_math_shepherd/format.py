"""Math-Shepherd's form: `input` holds question and solution, steps ending in a mark; `label` the same with + or - for it."""

from __future__ import annotations

import re
from typing import Any

from burnish.data.examples import Row, RowError, Stepwise
from burnish.data.formats.columns import brief, side

MARK = "ки"
FIRST = re.compile(r"\s*(?=Step 1\s*:)")
EXAMPLES: list[dict[str, Any]] = [
    {
        "input": f"What is 2 + 2 + 2? Step 1: 2 + 2 = 4. {MARK}\nStep 2: 4 + 2 = 7. The answer is: 7 {MARK}",
        "label": "What is 2 + 2 + 2? Step 1: 2 + 2 = 4. +\nStep 2: 4 + 2 = 7. The answer is: 7 -",
        "task": "GSM8K",
    }
]


class MathShepherd:
    """A question, and steps that are good when a right answer can be reached from them."""

    name = "math-shepherd"
    kind = "stepwise"

    def sniff(self, row: Row) -> float:
        """2 when `input` has the mark and `label` is a text."""
        text, label = row.get("input"), row.get("label")
        return 2.0 * (isinstance(text, str) and MARK in text and isinstance(label, str))

    def convert(self, row: Row) -> Stepwise:
        """The question is what stands before `Step 1:`."""
        if not self.sniff(row):
            found = ", ".join(f"{name}: {brief(row.get(name))}" for name in ("input", "label"))
            raise RowError(f"expected steps that end in the mark {MARK} in 'input', and 'label'; found {found}")
        *segments, rest = row["input"].split(MARK)
        if rest.strip():
            raise RowError(f"expected every step to end in the mark {MARK}; the last one ends {brief(rest[-40:])}")
        labels = tuple(_labels(segments, row["label"]))
        question, *solution = FIRST.split(segments[0], maxsplit=1)
        if not solution:
            raise RowError(f"expected 'Step 1:' between question and solution; found {brief(segments[0])}")
        steps = tuple(step.strip() for step in (*solution, *segments[1:]))
        return Stepwise(question, steps, labels, side=side(row, ("input", "label")))


def _labels(segments: list[str], label: str) -> list[float]:
    """The sign that stands in `label` where the mark stands after each segment."""
    signs, place = [], 0
    for number, segment in enumerate(segments, 1):
        place += len(segment) + 1
        sign = label[place - 1 : place]
        if label[place - 1 - len(segment) : place - 1] != segment or sign not in ("+", "-"):
            raise RowError(f"expected 'label' to be the input with + or - for the mark; they part in step {number}")
        signs.append(float(sign == "+"))
    return signs

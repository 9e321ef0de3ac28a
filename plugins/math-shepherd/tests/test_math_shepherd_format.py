"""Marks and signs, taken apart."""

from __future__ import annotations

import pytest
from burnish_math_shepherd.format import EXAMPLES, MathShepherd

from burnish.data.examples import RowError


def test_question_steps_and_signs() -> None:
    example = MathShepherd().convert(EXAMPLES[0])
    assert example.prompt == "What is 2 + 2 + 2?"
    assert example.steps == ("Step 1: 2 + 2 = 4.", "Step 2: 4 + 2 = 7. The answer is: 7")
    assert example.labels == (1.0, 0.0)
    assert example.columns == {"task": "GSM8K"}


@pytest.mark.parametrize(
    ("text", "label", "message"),
    [
        ("q Step 1: a ки\nStep 2: b", "q Step 1: a +\nStep 2: b", "the last one ends str '\\\\nStep 2: b'"),
        ("q Step 1: a ки\nStep 2: b ки", "q Step 1: a +\nStep 2: c +", "they part in step 2"),
        ("q Step 1: a ки", "q Step 1: a ?", "they part in step 1"),
        ("q Step 1: a ки\nStep 2: b ки", "q Step 1: a +", "they part in step 2"),
        ("q a ки", "q a +", "expected 'Step 1:' between"),
        ("q Step 1: a", "q Step 1: a", "expected steps that end in the mark"),
    ],
)
def test_bad_rows(text: str, label: str, message: str) -> None:
    with pytest.raises(RowError, match=message):
        MathShepherd().convert({"input": text, "label": label})

"""Word problems: worked answers as they stand, the bare number beside them, marked solutions one by one."""

from __future__ import annotations

from typing import Any

import pytest
from burnish_gsm8k.format import EXAMPLES, GSM8K, SOLUTION_EXAMPLES, GSM8KSolutions

from burnish import registry as plugins
from burnish.data.detect import detect_format
from burnish.data.examples import RowError


def test_the_worked_answer_is_learnt_and_the_number_stands_beside_it() -> None:
    example = GSM8K().convert({**EXAMPLES[0], "level": 2})
    assert example.prompt == ({"role": "user", "content": "Two boxes hold 600 nails each. How many is that?"},)
    assert example.completion == ({"role": "assistant", "content": "That is 2*600=<<2*600=1200>>1200 nails.\n#### 1,200"},)
    assert example.columns == {"level": 2, "final_answer": "1200"}


def test_every_solution_is_an_example() -> None:
    wrong, right = GSM8KSolutions().convert(SOLUTION_EXAMPLES[0])
    assert (wrong.label, right.label) == (False, True)
    assert right.completion == ({"role": "assistant", "content": "600*2=<<600*2=1200>>1200\nA: 1200"},)
    assert wrong.prompt == right.prompt
    assert wrong.columns == {"ground_truth": "A: 1200", "solver": "small"}


def test_both_forms_are_found_by_themselves() -> None:
    assert detect_format(EXAMPLES, plugins.load()).name == "gsm8k"
    assert detect_format(SOLUTION_EXAMPLES, plugins.load()).name == "gsm8k_solutions"
    assert not GSM8K().sniff({"question": "q", "answer": "just words"})


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"question": "q", "answer": "72"}, "expected an answer that ends with '#### ' and a number"),
        ({"question": 3, "answer": "#### 1"}, "expected text in 'question', found int 3"),
    ],
)
def test_bad_answers_are_said(row: dict[str, Any], expected: str) -> None:
    with pytest.raises(RowError, match=expected):
        GSM8K().convert(row)


def test_rows_without_solutions_are_said() -> None:
    with pytest.raises(RowError, match=r"expected columns of {solution, is_correct} beside 'question', found question, x"):
        GSM8KSolutions().convert({"question": "q", "x": {"solution": "s"}})

"""The forms of GSM8K: a question with a worked answer, and a question with models' solutions, each right or wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from burnish.data.examples import Message, PromptCompletion, Row, RowError, Unpaired
from burnish.data.formats.columns import brief, side

MARK = "#### "
EXAMPLES: list[dict[str, Any]] = [
    {
        "question": "Two boxes hold 600 nails each. How many is that?",
        "answer": "That is 2*600=<<2*600=1200>>1200 nails.\n#### 1,200",
    },
]
SOLUTION_EXAMPLES: list[dict[str, Any]] = [
    {
        "question": "Two boxes hold 600 nails each. How many is that?",
        "ground_truth": "A: 1200",
        "small": {"is_correct": False, "solution": "600+2=<<600+2=602>>602\nA: 602"},
        "large": {"is_correct": True, "solution": "600*2=<<600*2=1200>>1200\nA: 1200"},
    },
]


class GSM8K:
    """A question and its worked answer."""

    name = "gsm8k"
    kind = "prompt_completion"

    def sniff(self, row: Row) -> float:
        """2, and 1 for the way the answer ends."""
        answer = row.get("answer")
        return 3.0 * (isinstance(row.get("question"), str) and isinstance(answer, str) and MARK in answer)

    def convert(self, row: Row) -> PromptCompletion:
        """One question, one answer; the bare number is the column `final_answer`."""
        answer = row.get("answer")
        if not isinstance(answer, str) or MARK not in answer:
            raise RowError(f"expected an answer that ends with '{MARK}' and a number in 'answer', found {brief(answer)}")
        extra = side(row, ("question", "answer"))
        number = answer.rpartition(MARK)[2].strip().replace(",", "")
        extra = replace(extra, columns={**extra.columns, "final_answer": number})
        return PromptCompletion(_question(row), _answer(answer), side=extra)


class GSM8KSolutions:
    """A question and models' solutions of it, marked right or wrong."""

    name = "gsm8k_solutions"
    kind = "unpaired"

    def sniff(self, row: Row) -> float:
        """1 for the question, and 1 for every column of a marked solution."""
        return 1.0 + len(_solutions(row)) if isinstance(row.get("question"), str) and _solutions(row) else 0.0

    def convert(self, row: Row) -> tuple[Unpaired, ...]:
        """One example for each solution, in the order of the columns; who solved it is the column `solver`."""
        solutions = _solutions(row)
        if not solutions:
            raise RowError(f"expected columns of {{solution, is_correct}} beside 'question', found {', '.join(map(str, row))}")
        extra = side(row, ("question", *solutions))
        return tuple(
            Unpaired(
                _question(row),
                _answer(solution["solution"]),
                solution["is_correct"],
                side=replace(extra, columns={**extra.columns, "solver": solver}),
            )
            for solver, solution in solutions.items()
        )


def _solutions(row: Row) -> dict[str, Mapping[str, Any]]:
    """The columns that hold a marked solution."""
    return {
        name: value
        for name, value in row.items()
        if isinstance(value, Mapping) and isinstance(value.get("solution"), str) and isinstance(value.get("is_correct"), bool)
    }


def _question(row: Row) -> tuple[Message, ...]:
    question = row.get("question")
    if not isinstance(question, str):
        raise RowError(f"expected text in 'question', found {brief(question)}")
    return ({"role": "user", "content": question},)


def _answer(text: str) -> tuple[Message, ...]:
    return ({"role": "assistant", "content": text},)

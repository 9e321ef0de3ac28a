"""What a model writes is never run: generators that would evaluate an answer are given values and formulas only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from burnish_reasoning_gym.answers import PYTHON, SYMPY, is_harmless
from burnish_reasoning_gym.environment import Questions
from burnish_reasoning_gym.items import Generator
from burnish_reasoning_gym.reward import reasoning_gym

EVALUATE = [
    "intermediate_integration",
    "polynomial_multiplication",
    "simple_integration",
    "binary_matrix",
    "number_sorting",
    "spiral_matrix",
    "string_insertion",
    "bitwise_arithmetic",
    "countdown",
    "n_queens",
    "puzzle24",
]


def generator(task: str) -> Generator:
    return Generator(task, 4, 1, "{}")


@pytest.mark.parametrize("task", EVALUATE)
def test_an_answer_that_is_code_is_not_run(task: str, tmp_path: Path) -> None:
    """It counts as one that cannot be read; the right one is right as before."""
    one, mark = generator(task), tmp_path / "run"
    code = f"open({str(mark)!r}, 'w')"
    hostile = [code, f"[{code}]", f"<answer>{code}</answer>", f"exec({code!r})", f"sin({code!r})", "oracle_answer"]
    marks = reasoning_gym(hostile, [one.reference(0)] * len(hostile))
    assert marks == [one.score("(", one.item(0))] * len(hostile)
    assert not mark.exists()
    assert one.score(one.item(0)["answer"], one.item(0)) == 1
    assert reasoning_gym([one.item(0)["answer"]], [one.reference(0)]) == [1.0]


def test_nor_in_the_environment(tmp_path: Path) -> None:
    asked = Questions()
    asked.reset(generator("countdown").reference(0))
    asked.step(f"open({str(tmp_path / 'run')!r}, 'w')")
    assert not [*tmp_path.iterdir()]


def test_all_that_evaluate_are_known() -> None:
    from reasoning_gym.factory import DATASETS

    known: dict[str, Any] = DATASETS
    assert sorted(EVALUATE) == sorted(task for task in known if task != "composite" and generator(task).evaluators)


def test_other_generators_are_given_what_was_said() -> None:
    """Of a text that holds the answer, so many of its letters count as are the answer's."""
    one = generator("chain_sum")
    right = one.item(0)["answer"]
    assert reasoning_gym([f"It is {right}()"], [one.reference(0)]) == [len(right) / len(f"It is {right}()")]


@pytest.mark.parametrize(
    "answer",
    [
        "-5",
        "0xa",
        "(1 + 2)*(3 - 4)/5",
        "3*x**4 - 2*y",
        "x**2*sin(3*x)/2 + exp(2*x) + C",
        "['a', '_']",
        "[[1, 0], [1, 1]]",
        "exp(exp(x))",
    ],
)
def test_values(answer: str) -> None:
    assert is_harmless(answer, PYTHON | SYMPY)


@pytest.mark.parametrize(
    "answer",
    [
        "oracle_answer",
        "x.y",
        "x[0]",
        "f'{1}'",
        "lambda: 1",
        "[x for x in y]",
        "sin('1')",
        "sin(*x)",
        "'a' * 9",
        "E(1)",
        "9**9**9**9",
        "(((9**99)**99)**99)**99",
        "exp(exp(exp(50)))",
        "1 << 10**9",
        "1e999",
        "-" * 5000 + "1",
    ],
)
def test_no_values(answer: str) -> None:
    assert not is_harmless(answer, PYTHON)
    assert not is_harmless(answer, SYMPY)


@pytest.mark.parametrize("answer", ["", "[" * 5000, "_ Q\nQ _", "1 2 3", "open('x', 'w')!"])
def test_what_is_no_python_is_nothing_to_python(answer: str) -> None:
    """But sympy's parser makes Python of more, such as factorials."""
    assert is_harmless(answer, PYTHON)
    assert not is_harmless(answer, SYMPY)

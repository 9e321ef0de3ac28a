"""Tools: their schemas, what they answer, and what becomes of mistakes."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Literal

import pytest

from burnish.errors import ConfigError, InfrastructureError
from burnish.rollout.environments.offer import Answer, Tool, by_name


def add(a: int, b: int = 0, unit: Literal["m", "cm"] | None = None) -> str:
    """Add two numbers.

    Both are whole.

    Args:
        a: the first
        b (int): the second,
            which may be left out
        unit: of both

    Returns:
        Their sum.
    """
    return f"{a + b} {unit or ''}".strip()


async def wait(seconds: float) -> dict[str, float]:
    """Wait."""
    await asyncio.sleep(seconds)
    return {"waited": seconds}


def ask(tool: Any, *, time_limit: float | None = None, longest: int | None = None, **given: Any) -> Answer:
    return asyncio.run(Tool.of(tool)(given, time_limit, longest))


def test_the_schema_is_made_of_the_signature_and_the_docstring() -> None:
    schema = Tool.of(add).schema
    assert schema["type"] == "function"
    function = schema["function"]
    assert (function["name"], function["description"]) == ("add", "Add two numbers.\n\nBoth are whole.")
    parameters = function["parameters"]
    assert (parameters["type"], parameters["required"]) == ("object", ["a"])
    one, other, unit = (parameters["properties"][name] for name in ("a", "b", "unit"))
    assert one == {"description": "the first", "type": "integer"}
    assert other == {"default": 0, "description": "the second, which may be left out", "type": "integer"}
    assert unit["anyOf"] == [{"enum": ["m", "cm"], "type": "string"}, {"type": "null"}]


def test_a_function_without_parameters_has_a_schema() -> None:
    def now() -> str:
        """The time."""
        return "noon"

    assert Tool.of(now).schema["function"]["parameters"] == {"type": "object", "properties": {}}
    assert ask(now) == Answer("noon")


def test_answers() -> None:
    assert ask(add, a=1, b=2, unit="cm") == Answer("3 cm")
    assert ask(add, a="4") == Answer("4")  # what JSON had as a text
    assert ask(wait, seconds=0) == Answer('{"waited": 0.0}')


def test_mistakes_are_told_to_the_policy() -> None:
    def divide(a: int, b: int) -> float:
        """Divide."""
        return a / b

    def sleep() -> None:
        """Sleep."""
        time.sleep(5)

    assert ask(divide, a=1, b=0) == Answer("Error: ZeroDivisionError: division by zero", failed=True)
    assert ask(sleep, time_limit=0.05) == Answer("Error: sleep took longer than 0.05 s", failed=True)
    assert ask(wait, seconds=5, time_limit=0.05).failed
    wrong = ask(add, a="x", c=1)
    assert wrong.failed
    assert "a: Input should be a valid integer" in wrong.text
    assert "c: Extra inputs are not permitted" in wrong.text
    assert ask(add, a="[" * 10**5).text.endswith("unable to parse string as an integer")


def test_what_cannot_be_reached_ends_the_episode() -> None:
    def search(query: str) -> str:
        """Search."""
        raise InfrastructureError("the index is down")

    with pytest.raises(InfrastructureError):
        ask(search, query="x")


def test_long_answers_are_cut() -> None:
    def read() -> str:
        """Read."""
        return "x" * 100

    assert ask(read, longest=10) == Answer("x" * 10 + "... (90 more characters)")


def positional(a: int, /) -> None:
    """Do."""


def untyped(a) -> None:  # type: ignore[no-untyped-def]
    """Do."""


def unknown(a: Nowhere) -> None:  # type: ignore[name-defined]  # noqa: F821
    """Do."""


@pytest.mark.parametrize(
    ("function", "said"),
    [(positional, "by the names"), (untyped, "`a` has no type hint"), (unknown, "not there"), (print, "by the names")],
)
def test_what_cannot_be_offered_is_refused(function: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Tool.of(function)


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="two tools are called 'add'"):
        by_name([Tool.of(add), Tool.of(add)])

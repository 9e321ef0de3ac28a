"""A task for tools: arithmetic that a small model cannot do in its head, and a calculator. Named by path in configs.

Sums, differences and products of numbers of two or three digits. An answer is right when its last number is; a call is no
answer, whatever numbers are in it.
"""

from __future__ import annotations

import operator
import random
import re
from collections.abc import Iterator, Sequence
from typing import Any

SIGNS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
INSTRUCTIONS = """You have a calculator. To use it, write
<tool_call>{"name": "calculator", "arguments": {"expression": "..."}}</tool_call>
and nothing more. You are then told the result, which is your answer."""


def calculator(expression: str) -> str:
    """Work out an arithmetic expression.

    Args:
        expression: such as 17 * 4
    """
    left, sign, right = expression.split()
    return str(SIGNS[sign](int(left), int(right)))


def questions(size: int, seed: int) -> Iterator[dict[str, Any]]:
    """Prompts, and what each comes to."""
    for expression, result in _drawn(size, seed):
        yield {"prompt": [{"role": "user", "content": f"What is {expression}?"}], "answer": result}


def demonstrations(size: int, seed: int) -> Iterator[dict[str, Any]]:
    """Whole conversations, as an episode of the environment `tools` is rendered."""
    for expression, result in _drawn(size, seed):
        call = f'<tool_call>{{"name": "calculator", "arguments": {{"expression": "{expression}"}}}}</tool_call>'
        said = [("system", INSTRUCTIONS), ("user", f"What is {expression}?"), ("assistant", call), ("tool", result)]
        yield {"messages": [{"role": role, "content": content} for role, content in (*said, ("assistant", result))]}


def right(completions: Sequence[Sequence[dict[str, Any]]], answer: Sequence[str], **_: Any) -> list[float]:
    """Whether the policy's last turn is an answer that ends with the right number."""
    return [float(_number(said[-1]) == result) for said, result in zip(completions, answer, strict=True)]


def _number(message: dict[str, Any]) -> str | None:
    answers = message["role"] == "assistant" and "tool_call" not in message["content"]
    found = re.findall(r"-?\d+", message["content"]) if answers else []
    return found[-1] if found else None


def _drawn(size: int, seed: int) -> Iterator[tuple[str, str]]:
    draw = random.Random(seed)
    for _ in range(size):
        sign = draw.choice([*SIGNS])
        left, right_ = (draw.randint(10, 999) for _ in range(2))
        yield f"{left} {sign} {right_}", str(SIGNS[sign](left, right_))

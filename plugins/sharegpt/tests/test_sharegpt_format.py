"""Turns of {from, value} become messages; calls become tool calls."""

from __future__ import annotations

from typing import Any

import pytest
from burnish_sharegpt.format import EXAMPLES, PREFERENCE_EXAMPLES, ShareGPT, ShareGPTPreference

from burnish import registry as plugins
from burnish.data.detect import detect_format
from burnish.data.examples import RowError


def chat(*turns: tuple[str, str], **columns: Any) -> dict[str, Any]:
    return {"conversations": [{"from": speaker, "value": text} for speaker, text in turns], **columns}


def test_speakers_are_roles() -> None:
    row = chat(("system", "Be kind."), ("human", "Hi"), ("gpt", "Hello"), ("USER", "Bye"), ("assistant", "So long"))
    roles = [turn["role"] for turn in ShareGPT().convert(row).messages]
    assert roles == ["system", "user", "assistant", "user", "assistant"]
    assert ShareGPT().convert(chat(("human", "Hi"), system="Be kind.")).messages[0] == {"role": "system", "content": "Be kind."}


def test_calls_and_their_results() -> None:
    example = ShareGPT().convert(EXAMPLES[1])
    assert example.messages[1]["tool_calls"] == [
        {"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}
    ]
    assert example.messages[2] == {"role": "tool", "content": '{"celsius": 21}'}
    assert example.side.tools[0]["name"] == "weather"


def test_preferences() -> None:
    example = ShareGPTPreference().convert(PREFERENCE_EXAMPLES[0])
    assert example.chosen == ({"role": "assistant", "content": "A model."},)
    assert detect_format(PREFERENCE_EXAMPLES, plugins.load()).name == "sharegpt_preference"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (chat(("robot", "beep")), r"unknown speaker 'robot' in 'from'. Did you mean 'bot'|unknown speaker 'robot'"),
        (chat(("function_call", "weather(Rome)")), "expected JSON {name, arguments} in a function_call"),
        (chat(("function_call", "[1]")), "expected JSON {name, arguments} in a function_call"),
        ({"conversations": []}, "expected a list of {from, value}"),
        ({"conversations": [{"from": "human"}]}, "expected a turn {from, value} with text"),
    ],
)
def test_bad_rows_are_said(row: dict[str, Any], said: str) -> None:
    with pytest.raises(RowError, match=said):
        ShareGPT().convert(row)

"""The ShareGPT form: `conversations`, a list of `{from, value}`, and for preferences one more turn in `chosen` and `rejected`.

Speakers: human or user, gpt or assistant, system, function_call (JSON {name, arguments}), observation or tool. Further columns:
`system`, and `tools`, a list of schemas or its JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from burnish.data.examples import Chat, Message, Preference, Row, RowError
from burnish.data.formats.columns import brief, side
from burnish.errors import did_you_mean

ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "system": "system",
    "observation": "tool",
    "tool": "tool",
    "function_call": "assistant",
}
EXAMPLES: list[dict[str, Any]] = [
    {"conversations": [{"from": "human", "value": "Who are you?"}, {"from": "gpt", "value": "A model."}]},
    {
        "conversations": [
            {"from": "human", "value": "How warm is it in Rome?"},
            {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Rome"}}'},
            {"from": "observation", "value": '{"celsius": 21}'},
            {"from": "gpt", "value": "21 degrees."},
        ],
        "tools": '[{"name": "weather", "parameters": {"city": {"type": "string"}}}]',
    },
]
PREFERENCE_EXAMPLES: list[dict[str, Any]] = [
    {
        "conversations": [{"from": "human", "value": "Who are you?"}],
        "chosen": {"from": "gpt", "value": "A model."},
        "rejected": {"from": "gpt", "value": "A human."},
    },
]


class ShareGPT:
    """A conversation."""

    name = "sharegpt"
    kind = "chat"

    def sniff(self, row: Row) -> float:
        """1 when `conversations` is a list of turns."""
        return float(_are_turns(row.get("conversations")))

    def convert(self, row: Row) -> Chat:
        """The turns as messages."""
        return Chat(_messages(row), side=side(row, ("conversations", "system")))


class ShareGPTPreference:
    """A conversation that goes on in two ways, the first preferred."""

    name = "sharegpt_preference"
    kind = "preference"

    def sniff(self, row: Row) -> float:
        """3 when `conversations` is a list of turns and `chosen` and `rejected` are one each."""
        return 3.0 * (_are_turns(row.get("conversations")) and _is_turn(row.get("chosen")) and _is_turn(row.get("rejected")))

    def convert(self, row: Row) -> Preference:
        """The turns as a prompt, and two answers."""
        chosen, rejected = (_message(row.get("chosen")),), (_message(row.get("rejected")),)
        return Preference(_messages(row), chosen, rejected, side=side(row, ("conversations", "system", "chosen", "rejected")))


def _is_turn(value: object) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("from"), str) and isinstance(value.get("value"), str)


def _are_turns(value: object) -> bool:
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(map(_is_turn, value))


def _messages(row: Row) -> tuple[Message, ...]:
    turns, system = row.get("conversations"), row.get("system")
    if not isinstance(turns, (list, tuple)) or not turns:
        raise RowError(f"expected a list of {{from, value}} in 'conversations', found {brief(turns)}")
    opening = [{"role": "system", "content": system}] if system else []
    return (*opening, *map(_message, turns))


def _message(turn: Any) -> Message:
    if not _is_turn(turn):
        raise RowError(f"expected a turn {{from, value}} with text, found {brief(turn)}")
    speaker, text = turn["from"].lower(), turn["value"]
    if speaker not in ROLES:
        raise RowError(f"unknown speaker '{turn['from']}' in 'from'. {did_you_mean(speaker, ROLES)}")
    if speaker == "function_call":
        return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": _call(text)}]}
    return {"role": ROLES[speaker], "content": text}


def _call(text: str) -> dict[str, Any]:
    try:
        call = json.loads(text)
    except json.JSONDecodeError as error:
        raise RowError(f"expected JSON {{name, arguments}} in a function_call, found {brief(text)}: {error.msg}") from error
    if not isinstance(call, dict) or "name" not in call:
        raise RowError(f"expected JSON {{name, arguments}} in a function_call, found {brief(text)}")
    return {"name": call["name"], "arguments": call.get("arguments", {})}

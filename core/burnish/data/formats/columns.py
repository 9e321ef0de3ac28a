"""Reading typed values out of a raw row's columns; everything here raises `RowError` in words. Knows no format."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from burnish.data.examples import Message, Row, RowError, Said, Side, same_form
from burnish.data.prefix import common_prefix

SIDE = ("tools", "images", "image", "chat_template_kwargs", "weight", "margin")
SAYING = ("tool_calls", "function_call", "reasoning_content", "reasoning", "thinking")  # what a message may say without content


def is_message(value: Any) -> bool:
    """Whether `value` is one message: a mapping with a role."""
    return isinstance(value, Mapping) and isinstance(value.get("role"), str)


def is_messages(value: Any) -> bool:
    """Whether `value` is a non-empty list of messages."""
    return _is_list(value) and all(map(is_message, value))


def is_said(value: Any) -> bool:
    """Whether `value` is text, a message or messages."""
    return isinstance(value, str) or is_message(value) or is_messages(value)


def is_number(value: Any) -> bool:
    """Whether `value` is a finite number and no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class Check:
    """What a column must hold, in words and as a test."""

    words: str
    holds: Callable[[Any], bool]


def list_of(check: Check) -> Check:
    """A check for non-empty lists whose every item passes `check`."""
    return Check(f"a list of {check.words}", lambda value: _is_list(value) and all(map(check.holds, value)))


TEXT = Check("text", lambda value: isinstance(value, str))
SAID = Check("text or messages", is_said)
MESSAGES = Check("messages (role, content)", is_messages)
NUMBER = Check("a number", is_number)
SHARE = Check(
    "true, false or a number from 0 to 1",
    lambda value: isinstance(value, bool) or (is_number(value) and 0 <= value <= 1),
)
FLAG = Check("true or false", lambda value: isinstance(value, (bool, int, float)) and value in (0, 1))
IDS = list_of(Check("token ids", lambda value: isinstance(value, int) and not isinstance(value, bool)))


def message(value: Mapping[str, Any]) -> Message:
    """One message; None entries (Arrow fills absent keys with them) are taken out, text parts joined, arguments of calls
    that are JSON text read, since chat templates write them as JSON themselves. RowError for one that says nothing."""
    clean: Message = _without_none(value)
    content = clean.get("content")
    if isinstance(content, list) and all(isinstance(part, Mapping) and part.get("type") == "text" for part in content):
        clean["content"] = "".join(str(part.get("text", "")) for part in content)
    elif content is None and not any(clean.get(key) for key in SAYING):
        raise RowError(f"expected 'content' in the message of '{clean['role']}'; its keys are {', '.join(map(str, clean))}")
    elif not isinstance(content, str | list | None):
        raise RowError(f"expected text in 'content' of the message of '{clean['role']}'; found {brief(content)}")
    clean.setdefault("content", "")
    for call in clean.get("tool_calls", ()):
        function = call.get("function", call)
        if isinstance(function.get("arguments"), str):
            function["arguments"] = _parsed(function["arguments"])
    return clean


def said(row: Row, column: str) -> Said:
    """The text or the messages in `column`."""
    value = row.get(column)
    if isinstance(value, str):
        return value
    if is_message(value):
        return (message(value),)  # type: ignore[arg-type]
    if is_messages(value):
        return tuple(map(message, value))  # type: ignore[arg-type]
    raise RowError(f"expected text or messages (role, content) in '{column}', found {brief(value)}")


def side(row: Row, used: Sequence[str]) -> Side:
    """The side columns of a row; `used` are the columns that the format itself has read."""
    images = row.get("images") if row.get("images") is not None else row.get("image")
    extra = row.get("chat_template_kwargs") or {}
    if not isinstance(extra, Mapping):
        raise RowError(f"expected a mapping in 'chat_template_kwargs', found {brief(extra)}")
    return Side(
        tools=tools(row.get("tools")),
        images=() if images is None else tuple(images) if isinstance(images, (list, tuple)) else (images,),
        chat_template_kwargs=_without_none(extra),
        weight=_number(row, "weight"),
        margin=_number(row, "margin"),
        columns={key: value for key, value in row.items() if key not in SIDE and key not in used},
    )


def tools(value: Any) -> tuple[Any, ...]:
    """Tool schemas, given as a list or as its JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except json.JSONDecodeError as error:
            raise RowError(f"expected tool schemas as JSON in 'tools': {error}") from error
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise RowError(f"expected a list of tool schemas in 'tools', found {brief(value)}")
    return tuple(_without_none(tool) for tool in value)


def shared_prompt(parts: Sequence[Said]) -> tuple[Said, list[Said]]:
    """Splits whole texts or conversations at their common beginning: (prompt, what is left of each).

    Text: a space before the first difference belongs to the completions. Messages: what is left begins with an assistant turn,
    a shared one where they part at another's. Equal texts have no prompt; of equal conversations the last turn is left.
    """
    same_form(*parts)
    shared = common_prefix(*parts)
    if isinstance(parts[0], str):
        if all(part == parts[0] for part in parts):
            shared = 0
        elif shared and parts[0][shared - 1] == " ":
            shared -= 1
        return parts[0][:shared], [part[shared:] for part in parts]
    shared = min(shared, *(len(part) - 1 for part in parts))
    while shared and any(part[shared]["role"] != "assistant" for part in parts):  # type: ignore[index]
        shared -= 1
    if not shared:
        found = " and ".join(brief(part) for part in parts)
        raise RowError(f"expected conversations that share a prompt and part at an assistant turn, found {found}")
    return parts[0][:shared], [part[shared:] for part in parts]


def brief(value: Any) -> str:
    """A value in a few words, for messages."""
    if value is None:
        return "nothing"
    if is_messages(value):
        return "messages by " + ", ".join(str(item["role"]) for item in value[:6]) + (", ..." if len(value) > 6 else "")
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def _parsed(text: str) -> Any:
    """The object that `text` is the JSON of, or the text."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return value if isinstance(value, dict) else text


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0


def _number(row: Row, column: str) -> float | None:
    value = row.get(column)
    if value is None:
        return None
    if not is_number(value):
        raise RowError(f"expected a number in '{column}', found {brief(value)}")
    return float(value)


def _without_none(value: Any) -> Any:
    """A copy of nested mappings and lists without None entries in mappings."""
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_without_none(item) for item in value]
    return value

"""The forms of Taskmaster-4: dialogues of a user and an assistant who calls an API, and single turns of it that people marked.

Calls become the assistant's `tool_calls`, answers turns of the role `tool`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from burnish.data.examples import Chat, Message, Row, RowError, Unpaired
from burnish.data.formats.columns import brief, message, side
from burnish.errors import did_you_mean

SPEAKERS = ("user", "assistant")
CALL = ("api_call", "request", "api_response", "response")
EXAMPLES: list[dict[str, Any]] = [
    {
        "conversation_id": "1",
        "utterances": [
            {
                "speaker": "user",
                "text": "A mocha, please.",
                "annotations": [
                    {"name": "api_call", "value": "get_menu_items"},
                    {"name": "request", "value": '{"query": "mocha"}'},
                    {"name": "api_response", "value": "get_menu_items"},
                    {"name": "response", "value": '{"menu_items": ["mocha-1"]}'},
                ],
            },
            {"speaker": "assistant", "text": "One mocha.", "annotations": []},
        ],
    },
]
REWARD_EXAMPLES: list[dict[str, Any]] = [
    {
        "conversation_id": "1",
        "context": '[{"role": "agent", "text": "Welcome."}, {"role": "user", "text": "A mocha, please."}]',
        "generation": '{"role": "agent", "api": {"get_menu_items": {"query": "mocha"}}}',
        "reward": 1.0,
    },
]


class Taskmaster:
    """A dialogue."""

    name = "taskmaster"
    kind = "chat"

    def sniff(self, row: Row) -> float:
        """2 when `utterances` is a list of turns with a speaker."""
        return 2.0 * _are_utterances(row.get("utterances"))

    def convert(self, row: Row) -> Chat:
        """The turns, each of the user's followed by the calls that it led to."""
        utterances = row.get("utterances")
        if not _are_utterances(utterances):
            raise RowError(f"expected a list of turns with speaker and text in 'utterances', found {brief(utterances)}")
        messages = [one for utterance in row["utterances"] for one in _utterance(utterance)]
        return Chat(tuple(messages), side=side(row, ("utterances",)))


class TaskmasterReward:
    """A turn of the agent, and whether it was a good one."""

    name = "taskmaster_reward"
    kind = "unpaired"

    def sniff(self, row: Row) -> float:
        """3 when there are context and generation as text and a reward of 0 or 1."""
        said = all(isinstance(row.get(column), str) for column in ("context", "generation"))
        return 3.0 * (said and row.get("reward") in (0, 1))

    def convert(self, row: Row) -> Unpaired:
        """What was said and done before, and the marked turn."""
        context, reward = _json(row, "context"), row.get("reward")
        if not isinstance(context, list):
            raise RowError(f"expected a list of turns in 'context', found {brief(context)}")
        if reward not in (0, 1):
            raise RowError(f"expected 1 or 0 in 'reward', found {brief(reward)}")
        turn = _turn(_json(row, "generation"))
        if turn["role"] != "assistant":
            raise RowError(f"expected a turn of the agent in 'generation', found one of the {turn['role']}")
        extra = side(row, ("context", "generation", "reward"))
        return Unpaired(tuple(map(_turn, context)), (turn,), bool(reward), side=extra)


def _are_utterances(value: object) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) > 0
        and all(isinstance(turn, Mapping) and isinstance(turn.get("text"), str) and "speaker" in turn for turn in value)
    )


def _utterance(utterance: Mapping[str, Any]) -> Iterator[Message]:
    speaker = utterance["speaker"]
    if speaker not in SPEAKERS:
        raise RowError(f"unknown speaker {speaker!r}. {did_you_mean(str(speaker), SPEAKERS)}")
    yield {"role": speaker, "content": utterance["text"]}
    notes: Sequence[Mapping[str, Any]] = utterance.get("annotations") or ()
    for start in range(0, len(notes), len(CALL)):
        group = notes[start : start + len(CALL)]
        if (names := tuple(note.get("name") for note in group)) != CALL:
            raise RowError(f"expected annotations in groups of {', '.join(CALL)}, found {', '.join(map(str, names))}")
        name, request, _, response = (str(note.get("value")) for note in group)
        yield _call(name, request)
        yield _answer(name, response)


def _turn(turn: Any) -> Message:
    role = turn.get("role") if isinstance(turn, Mapping) else None
    if role in ("user", "agent") and isinstance(turn.get("text"), str):
        return {"role": "user" if role == "user" else "assistant", "content": turn["text"]}
    what = turn.get({"agent": "api", "api": "response"}.get(str(role), "")) if isinstance(turn, Mapping) else None
    if not isinstance(what, Mapping) or len(what) != 1:
        raise RowError(f"expected a turn with role and text, one api call or one response, found {brief(turn)}")
    [(name, content)] = what.items()
    return _call(name, content) if role == "agent" else _answer(name, json.dumps(content, ensure_ascii=False))


def _call(name: str, arguments: Any) -> Message:
    """A tool call; its arguments as an object where they are one, or the JSON of one."""
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return message({"role": "assistant", "content": "", "tool_calls": [call]})


def _answer(name: str, content: str) -> Message:
    return {"role": "tool", "name": name, "content": content}


def _json(row: Row, column: str) -> Any:
    text = row.get(column)
    if not isinstance(text, str):
        raise RowError(f"expected JSON in '{column}', found {brief(text)}")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise RowError(f"expected JSON in '{column}', found {brief(text)}: {error.msg}") from error

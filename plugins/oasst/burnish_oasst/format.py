"""The form of OpenAssistant's exports: a tree of messages, whose replies to one message are ranked.

A message is `{text, role, rank, replies}`; role is `prompter` or `assistant`, rank 0 is the best, or there is none. What was
said from the root to a message is the prompt of its replies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from burnish.data.examples import Chat, Message, NoExample, Ranked, Row, RowError
from burnish.data.formats.columns import brief, side
from burnish.errors import did_you_mean

ROLES = {"prompter": "user", "assistant": "assistant"}
_REPLIES: list[dict[str, Any]] = [
    {"text": "Blue.", "role": "assistant", "rank": 1, "replies": []},
    {
        "text": "The sky is blue.",
        "role": "assistant",
        "rank": 0,
        "replies": [
            {
                "text": "And grass?",
                "role": "prompter",
                "rank": None,
                "replies": [{"text": "Green.", "role": "assistant", "rank": 0, "replies": []}],
            }
        ],
    },
]
EXAMPLES: list[dict[str, Any]] = [
    {
        "message_tree_id": "1",
        "prompt": {"text": "Which colour has the sky?", "role": "prompter", "replies": _REPLIES},
    },
]
CHAT_EXAMPLES: list[dict[str, Any]] = [
    {"prompt": {"text": "Hello", "role": "prompter", "replies": [{"text": "Good day", "role": "assistant", "replies": []}]}},
]


class OASST:
    """Every list of ranked replies of the assistant in a tree."""

    name = "oasst"
    kind = "ranked"

    def sniff(self, row: Row) -> float:
        """3 when `prompt` is a tree in which replies are ranked, and 1 when it is a tree."""
        return (3.0 if any(_ranked(message) for _, message in _walk(row["prompt"])) else 1.0) if _is_tree(row) else 0.0

    def convert(self, row: Row) -> tuple[Ranked, ...]:
        """One list for each message with at least two ranked replies, in the order of the tree."""
        extra = side(row, ("prompt",))
        lists = []
        for said, message in _walk(_tree(row)):
            if replies := _ranked(message):
                lists.append(Ranked(said, tuple((_message(reply),) for reply in replies), side=extra))
        if not lists:
            raise NoExample("no message of the tree has two ranked replies of the assistant")
        return tuple(lists)


class OASSTChat:
    """The conversation of the best-ranked replies."""

    name = "oasst_chat"
    kind = "chat"

    def sniff(self, row: Row) -> float:
        """2 when `prompt` is a tree of messages."""
        return 2.0 * _is_tree(row)

    def convert(self, row: Row) -> Chat:
        """From the root down, the best reply each time, up to the last of the assistant's."""
        message: Any = _tree(row)
        messages = [_message(message)]
        while message["replies"]:
            message = min(message["replies"], key=_place)
            messages.append(_message(message))
        while messages and messages[-1]["role"] != "assistant":
            messages.pop()
        if not messages:
            raise NoExample("the tree has no answer")
        return Chat(tuple(messages), side=side(row, ("prompt",)))


def _is_tree(row: Row) -> bool:
    root = row.get("prompt")
    return isinstance(root, Mapping) and isinstance(root.get("text"), str) and isinstance(root.get("replies"), (list, tuple))


def _tree(row: Row) -> Mapping[str, Any]:
    if not _is_tree(row):
        raise RowError(f"expected a message with text and replies in 'prompt', found {brief(row.get('prompt'))}")
    tree: Mapping[str, Any] = row["prompt"]
    return tree


def _walk(root: Mapping[str, Any]) -> Iterator[tuple[tuple[Message, ...], Mapping[str, Any]]]:
    """Every message, parents first, with what had been said up to it and in it."""
    pending: list[tuple[tuple[Message, ...], Mapping[str, Any]]] = [((), root)]
    while pending:
        before, message = pending.pop()
        said = (*before, _message(message))
        yield said, message
        pending += [(said, reply) for reply in reversed(message["replies"])]


def _ranked(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The assistant's ranked replies, best first; none when there are not two."""
    replies = [reply for reply in message["replies"] if reply.get("rank") is not None and reply.get("role") == "assistant"]
    return sorted(replies, key=_place) if len(replies) > 1 else []


def _place(reply: Mapping[str, Any]) -> float:
    """Where a reply stands among its siblings; those without a rank last."""
    rank = reply.get("rank")
    return float("inf") if rank is None else float(rank)


def _message(message: Mapping[str, Any]) -> Message:
    role, text = message.get("role"), message.get("text")
    if role not in ROLES:
        raise RowError(f"unknown role {role!r} of a message. {did_you_mean(str(role), ROLES)}")
    if not isinstance(text, str) or not isinstance(message.get("replies"), (list, tuple)):
        raise RowError(f"expected a message with text and replies, found {brief(dict(message))}")
    return {"role": ROLES[role], "content": text}

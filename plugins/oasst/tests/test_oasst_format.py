"""Trees become lists of ranked replies, or the conversation of the best ones."""

from __future__ import annotations

from typing import Any

import pytest
from burnish_oasst.format import CHAT_EXAMPLES, EXAMPLES, OASST, OASSTChat

from burnish import registry as plugins
from burnish.data.detect import detect_format
from burnish.data.examples import NoExample, Ranked, RowError

Messages = tuple[dict[str, str], ...]


def said(*texts: str, first: str = "user") -> Messages:
    roles = ("user", "assistant") if first == "user" else ("assistant", "user")
    return tuple({"role": roles[place % 2], "content": text} for place, text in enumerate(texts))


def ask(text: str, *replies: dict[str, Any]) -> dict[str, Any]:
    return {"text": text, "role": "prompter", "replies": list(replies)}


def answer(text: str, rank: int | None, *replies: dict[str, Any]) -> dict[str, Any]:
    return {"text": text, "role": "assistant", "rank": rank, "replies": list(replies)}


def test_every_list_of_ranked_replies_with_what_was_said_before() -> None:
    deeper = ask("Why?", answer("no", 1), answer("so", 0), answer("left out", None))
    row = {"prompt": ask("A?", answer("worse", 1), answer("best", 0, deeper), answer("worst", 2)), "message_tree_id": "t"}
    first, second = OASST().convert(row)
    assert first == Ranked(
        said("A?"), tuple(said(text, first="assistant") for text in ("best", "worse", "worst")), side=first.side
    )
    assert second.prompt == said("A?", "best", "Why?")
    assert second.completions == (said("so", first="assistant"), said("no", first="assistant"))
    assert first.columns == {"message_tree_id": "t"}


def test_the_conversation_of_the_best_replies_ends_with_an_answer() -> None:
    row = {"prompt": ask("A?", answer("worse", 1), answer("best", 0, ask("Why?", answer("so", None, ask("Thanks")))))}
    assert OASSTChat().convert(row).messages == said("A?", "best", "Why?", "so")


def test_a_reply_without_a_rank_comes_after_those_with_one() -> None:
    assert OASSTChat().convert({"prompt": ask("A?", answer("none", None), answer("last", 9))}).messages[1]["content"] == "last"


def test_trees_without_lists_or_answers_hold_nothing() -> None:
    with pytest.raises(NoExample, match="two ranked replies"):
        OASST().convert(CHAT_EXAMPLES[0])
    with pytest.raises(NoExample, match="no answer"):
        OASSTChat().convert({"prompt": ask("A?")})


def test_deep_trees_do_not_exhaust_the_stack() -> None:
    tree = answer("end", 0)
    for _ in range(3000):
        tree = answer("a", 0, ask("q", tree))
    assert len(OASSTChat().convert({"prompt": ask("A?", tree)}).messages) == 6002


def test_ranked_trees_are_lists_by_themselves() -> None:
    assert detect_format(EXAMPLES, plugins.load()).name == "oasst"


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("A?", "expected a message with text and replies in 'prompt', found str 'A\\?'"),
        (ask("A?", {**answer("b", 0), "role": "bot"}, answer("c", 1)), "unknown role 'bot'"),
        (ask("A?", {"role": "assistant", "rank": 0, "replies": []}, answer("c", 1)), "expected a message with text"),
    ],
)
def test_bad_rows_are_said(prompt: Any, expected: str) -> None:
    for known in (OASST(), OASSTChat()):
        with pytest.raises(RowError, match=expected):
            known.convert({"prompt": prompt})

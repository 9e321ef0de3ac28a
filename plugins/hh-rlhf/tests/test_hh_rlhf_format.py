"""Transcripts become the turns they share and how each goes on."""

from __future__ import annotations

import pytest
from burnish_hh_rlhf.format import EXAMPLES, HHRLHF

from burnish import registry as plugins
from burnish.data.detect import detect_format
from burnish.data.examples import Message, Preference, RowError

H, A = "\n\nHuman: ", "\n\nAssistant: "


def turns(*texts: str, first: str = "user") -> tuple[Message, ...]:
    roles = ("user", "assistant") if first == "user" else ("assistant", "user")
    return tuple({"role": roles[place % 2], "content": text} for place, text in enumerate(texts))


def test_what_both_share_is_the_prompt() -> None:
    assert HHRLHF().convert(EXAMPLES[0]) == Preference(
        turns("Hello.", "Good day.", "Are you well?"),
        turns("Yes, thank you.", first="assistant"),
        turns("Go away.", first="assistant"),
    )


def test_it_is_preferred_to_the_format_of_any_two_texts() -> None:
    assert detect_format(EXAMPLES, plugins.load()).name == "hh_rlhf"


def test_two_turns_of_a_speaker_are_joined() -> None:
    row = {"chosen": f"{H}a{A}b{A}c", "rejected": f"{H}a{A}b{A}d"}
    assert HHRLHF().convert(row).chosen == turns("b\n\nc", first="assistant")


def test_transcripts_that_part_early_keep_what_follows_the_last_shared_question() -> None:
    row = {"chosen": f"{H}a{A}b{H}c{A}d", "rejected": f"{H}a{A}x"}
    assert HHRLHF().convert(row) == Preference(
        turns("a"), turns("b", "c", "d", first="assistant"), turns("x", first="assistant")
    )
    row = {"chosen": f"{H}a{A}b{H}c{A}d", "rejected": f"{H}a{A}b{H}other{A}e"}
    assert HHRLHF().convert(row).prompt == turns("a"), "they part at a human turn: the shared answer before it is kept apart"


def test_a_word_that_looks_like_a_speaker_within_a_line_is_text() -> None:
    row = {"chosen": f"{H}Is 'Human: x' a name?{A}No", "rejected": f"{H}Is 'Human: x' a name?{A}Yes"}
    assert HHRLHF().convert(row).prompt == turns("Is 'Human: x' a name?")


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (f"{H}a", "ends with the assistant in 'chosen', it ends with the human"),
        ("Human: a", r"begins with '\\n\\nHuman:' in 'chosen', found str 'Human: a'"),
        (None, "found nothing"),
    ],
)
def test_bad_rows_are_said(chosen: str | None, said: str) -> None:
    with pytest.raises(RowError, match=said):
        HHRLHF().convert({"chosen": chosen, "rejected": f"{H}a{A}b"})

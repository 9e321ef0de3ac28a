"""Rows as text, with their targets marked by colour or by brackets."""

from __future__ import annotations

import pytest

from burnish.data.examples import Chat, Preference, RowError, Side
from burnish.data.render import Rendered, Renderer
from burnish.data.show import TARGET, show_row
from burnish.data.sources import Place
from burnish.errors import ObjectiveError

PLACE = Place(3, "rows.jsonl", 4)
PAIR = Preference("2+2=", "4", "5", side=Side(weight=0.5))


def lines(renderer: Renderer, example: Chat | Preference, mask: str = "completion", colour: bool = False) -> list[str]:
    (rendered,) = renderer.render_many([example], "main", [3])
    return [str(text) for text in show_row(PLACE, rendered, renderer.tokenizer, mask, colour)]


def test_targets_stand_in_brackets_without_colour(renderer: Renderer) -> None:
    assert lines(renderer, PAIR) == [
        "rows.jsonl:4  preference  weight 0.5",
        "chosen: 6 tokens, 2 targets",
        "2+2=⟦4<|im_end|>⟧",
        "rejected: 6 tokens, 2 targets",
        "2+2=⟦5<|im_end|>⟧",
    ]
    assert lines(renderer, PAIR, mask="all")[2] == "2⟦+2=4<|im_end|>⟧"


def test_targets_are_coloured_and_characters_stay_whole(renderer: Renderer) -> None:
    chat = Chat(({"role": "user", "content": "Grüße?"}, {"role": "assistant", "content": "漢字"}))
    (rendered,) = renderer.render_many([chat], "main", [0])
    *_, text = show_row(PLACE, rendered, renderer.tokenizer, "last", True)
    (span,) = [span for span in text.spans if span.style == TARGET]
    assert str(text)[span.start : span.end] == "漢字<|im_end|>\n"


def test_rows_that_are_not_used_say_why(renderer: Renderer) -> None:
    assert lines(renderer, Chat(({"role": "user", "content": "hi"},))) == [
        "rows.jsonl:4  not used: the chat has no assistant turn"
    ]
    (text,) = show_row(PLACE, Rendered(RowError("expected text")), renderer.tokenizer, "completion", False)
    assert str(text) == "rows.jsonl:4  not used: expected text"


def test_notes_are_shown_and_unknown_masks_refused(renderer: Renderer) -> None:
    assert "note: such rows have chosen == rejected: a tie teaches nothing" in lines(renderer, Preference("p", "a", "a"))
    with pytest.raises(ObjectiveError, match=r"no mask 'lsat'. Did you mean 'last'\?"):
        lines(renderer, PAIR, mask="lsat")

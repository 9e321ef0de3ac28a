"""The chat templates that models without one are given by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from burnish.data.chat import ChatRenderer
from burnish.data.examples import Side
from burnish.data.templates import NAMES, apply_template
from burnish.errors import DataError
from burnish.testing.tiny import tiny_tokenizer

CHAT = tuple(
    {"role": role, "content": text}
    for role, text in [("system", "Be kind."), *zip(("user", "assistant") * 2, ("Hi", "Hello", "Bye", "So long"), strict=True)]
)


def base(name: str) -> Any:
    tokenizer = tiny_tokenizer(chat=False)
    apply_template(tokenizer, name)
    return tokenizer


@pytest.mark.parametrize("name", NAMES)
def test_answers_and_the_end_of_turn_are_marked(name: str) -> None:
    tokenizer = base(name)
    chat = ChatRenderer(tokenizer).turns(CHAT, Side())
    said = [chat.text[slice(*span)] for span in chat.spans if span]
    assert [text.strip() for text in said] == [f"Hello{tokenizer.eos_token}", f"So long{tokenizer.eos_token}"]
    assert all(message["content"] in chat.text for message in CHAT)


@pytest.mark.parametrize("name", NAMES)
def test_marks_agree_with_rendering_turn_by_turn(name: str) -> None:
    """Without its marks the same template gives the same spans, but for white space that it writes after a turn."""
    marked, bare = base(name), base(name)
    bare.chat_template = re.sub(r"\{%-?\s*(end)?generation\s*-?%\}", "", NAMES[name].jinja)
    chats = [ChatRenderer(tokenizer).turns(CHAT, Side()) for tokenizer in (marked, bare)]
    assert chats[0].text == chats[1].text
    said = [[chat.text[slice(*span)].rstrip() for span in chat.spans if span] for chat in chats]
    assert said[0] == said[1]


@pytest.mark.parametrize("name", NAMES)
def test_the_prompt_is_a_prefix(name: str) -> None:
    chats = ChatRenderer(base(name))
    assert chats.text(CHAT, Side()).startswith(chats.text(CHAT[:-1], Side(), prompt=True))


@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_added_once_and_are_single(name: str) -> None:
    tokenizer = tiny_tokenizer(chat=False)
    size = len(tokenizer)
    new = apply_template(tokenizer, name)
    assert len(tokenizer) == size + len(new)
    for token in NAMES[name].tokens:
        assert len(tokenizer(token, add_special_tokens=False)["input_ids"]) == 1
    assert apply_template(tokenizer, name) == []


def test_chatml_adds_nothing_to_a_vocabulary_that_has_its_tokens_but_ends_turns() -> None:
    tokenizer = tiny_tokenizer(chat=False)
    assert tokenizer.eos_token == "<|eos|>"
    assert apply_template(tokenizer, "chatml") == []
    assert tokenizer.eos_token == "<|im_end|>"
    assert apply_template(tiny_tokenizer(chat=False), "gemma") == ["<start_of_turn>", "<end_of_turn>"]


def test_chatml_writes_tools_and_calls() -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}]}
    chat = ChatRenderer(base("chatml")).turns((*CHAT[:2], call), Side(tools=({"name": "add"},)))
    assert not chat.tools_unseen
    assert chat.text.startswith("<|im_start|>system\nBe kind.\n\nYou may call these functions:\n")
    assert chat.text.endswith('<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call><|im_end|>\n')


def test_templates_come_from_files_too(tmp_path: Path) -> None:
    path = tmp_path / "own.jinja"
    path.write_text("{% for m in messages %}{{ m.content }}{% endfor %}", encoding="utf-8")
    tokenizer = base(str(path))
    assert ChatRenderer(tokenizer).text(CHAT[:1], Side()) == "Be kind."
    with pytest.raises(DataError, match="no chat template at"):
        base(str(tmp_path / "none.jinja"))


def test_unknown_names_and_tokenizers_without_an_end() -> None:
    with pytest.raises(DataError, match=r"no chat template named 'chatlm'. Did you mean 'chatml'\?"):
        base("chatlm")
    tokenizer = tiny_tokenizer(chat=False)
    tokenizer.eos_token = None
    with pytest.raises(DataError, match="ends turns with the tokenizer's EOS"):
        apply_template(tokenizer, "zephyr")

"""Where the assistant's turns are in a rendered conversation, whatever the template does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from burnish.config.sections import RenderSection
from burnish.data.chat import ChatRenderer
from burnish.data.examples import Chat, Preference, RowError, Side
from burnish.data.render import Renderer
from burnish.data.units import Unit
from burnish.errors import DataError
from burnish.testing.tiny import tiny_tokenizer

USER, BOT, SYSTEM = ({"role": role, "content": f"{role}?"} for role in ("user", "assistant", "system"))
THINKS = {"role": "assistant", "content": "<think>hm</think>Yes"}
# Keeps the reasoning of the last turn only, as several released models do: earlier turns are rewritten when later ones follow.
FORGETS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content if loop.last or m.role != 'assistant' else m.content.split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Ends only the last turn with EOS, and writes the beginning of an answer as no answer begins.
ODD_END = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% if loop.last %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]<think>{% endif %}"
)
# Writes the reasoning of the turns after the last question, and space before calls only when there is content, as Qwen3 does.
CALLS = (
    "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}"
    "{% endfor %}{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}"
    "{% for call in m.tool_calls or [] %}{% if m.content or not loop.first %}{{ '\n' }}{% endif %}"
    "<call>{{ call.function.name }}</call>"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Ends the last turn with <|return|> and the others with <|end|>, as gpt-oss does.
RETURNS = (
    "{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}"
    "{% if loop.last and m.role == 'assistant' and not add_generation_prompt %}<|return|>{% else %}<|end|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
MARKED = (
    "{% for m in messages %}({{ m.role }}){% if m.role == 'assistant' %}{% generation %}{{ m.content }}.{% endgeneration %}"
    "{% else %}{{ m.content }}.{% endif %}{% endfor %}{% if add_generation_prompt %}(assistant){% endif %}"
)


class WithoutOffsets:
    """A tokenizer that cannot say which characters a token covers, as those written in Python cannot."""

    is_fast = False

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, texts: Sequence[str], *, return_offsets_mapping: bool, **settings: Any) -> Any:
        assert not return_offsets_mapping
        return self._tokenizer(texts, **settings)


def with_template(template: str) -> Any:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def turns(template: str, *messages: dict[str, Any], side: Side | None = None) -> list[str | None]:
    chat = ChatRenderer(with_template(template)).turns(messages, side or Side())
    return [None if span is None else chat.text[slice(*span)] for span in chat.spans]


def test_turns_of_a_prefix_preserving_template_hold_the_end_of_turn(tokenizer: Any) -> None:
    chat = ChatRenderer(tokenizer).turns((SYSTEM, USER, BOT, USER, BOT), Side())
    assert [chat.text[slice(*span)] for span in chat.spans if span] == ["assistant?<|im_end|>\n"] * 2


def test_a_template_that_rewrites_earlier_turns_is_found_out() -> None:
    assert turns(FORGETS, USER, THINKS, USER, THINKS) == ["Yes<|im_end|>\n", "<think>hm</think>Yes<|im_end|>\n"]


def test_turns_are_found_when_the_beginning_of_an_answer_is_not_what_answers_begin_with() -> None:
    assert turns(ODD_END, USER, BOT, USER, BOT) == ["assistant?", "assistant?<|im_end|>"]


def test_a_turn_of_calls_is_found_where_space_around_calls_depends_on_the_content() -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "add"}}]}
    answers = turns(CALLS, USER, call, {"role": "tool", "content": "3"}, BOT)
    assert answers == ["<call>add</call><|im_end|>\n", "<think>\n\n</think>\n\nassistant?<|im_end|>\n"]
    strict = (
        "{% for m in messages %}{% if m.role == 'tool' and not messages[loop.index0 - 1].tool_calls %}"
        "{{ raise_exception('no call') }}{% endif %}{% endfor %}"
    )
    assert turns(strict + CALLS, USER, call, {"role": "tool", "content": "3"}, BOT)[0] is None, "a refused probe is no error"


def test_a_turn_ends_as_it_does_when_an_answer_follows() -> None:
    assert turns(RETURNS, USER, BOT, USER, BOT) == ["assistant?<|end|>", "<|message|>assistant?<|return|>"]


def test_an_opening_turn_of_the_assistant_has_no_header_among_its_targets() -> None:
    assert turns(FORGETS, BOT, USER, BOT) == ["assistant?<|im_end|>\n", "assistant?<|im_end|>\n"]


def test_generation_marks_decide_where_there_are_any() -> None:
    assert turns(MARKED, USER, BOT, USER, BOT) == ["assistant?.", "assistant?."]


def test_turns_that_the_template_does_not_write_are_not_found() -> None:
    silent = "{% for m in messages %}{{ m.role }}{% if m.role == 'user' %}{{ m.content }}{% endif %}{{ loop.last }}{% endfor %}"
    assert turns(silent, USER, BOT, USER, BOT)[0] is None
    renderer = Renderer(with_template(silent), RenderSection())
    with pytest.raises(RowError, match="cannot be found in its text; mark the answers"):
        renderer.render(Chat((USER, BOT, USER, BOT)))
    pair = renderer.render(Preference((USER, BOT, USER), (BOT,), ({**BOT, "content": "other"},)))
    assert isinstance(pair, Unit)
    assert "assistant" not in pair.sequences[0].masks, "a turn of the prompt is lost, so the mask would be wrong"


def test_a_template_that_changes_with_the_content_elsewhere_hides_the_turn() -> None:
    counts = "{% for m in messages %}{{ m.role }}:{{ m.content }}({{ m.content | length }}){{ loop.last }}{% endfor %}"
    assert turns(counts, USER, BOT, USER, BOT)[0] is None


def test_tokenizers_without_offsets_give_the_same_masks(tokenizer: Any) -> None:
    chat = Chat((SYSTEM, USER, BOT, USER, {"role": "assistant", "content": "ü 漢"}))
    units = [Renderer(one, RenderSection()).render(chat) for one in (tokenizer, WithoutOffsets(tokenizer))]
    assert isinstance(units[0], Unit)
    assert isinstance(units[1], Unit)
    assert units[0].id == units[1].id


def test_tools_and_calls_that_the_template_leaves_out_are_noticed(tokenizer: Any) -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add", "arguments": {}}}]}
    chats = ChatRenderer(tokenizer)
    assert "tools: [" in chats.text((USER, BOT), Side(tools=({"name": "add"},)))
    assert not chats.turns((USER, BOT), Side(tools=({"name": "add"},))).tools_unseen
    assert chats.turns((USER, call, BOT), Side()).tools_unseen, "this template writes tools but no calls"
    assert ChatRenderer(with_template(FORGETS)).turns((USER, BOT), Side(tools=({"name": "add"},))).tools_unseen


def test_chat_template_kwargs_of_a_row_reach_the_template() -> None:
    template = "{% if loud %}LOUD {% endif %}{% for m in messages %}({{ m.content }}){% endfor %}"
    side = Side(chat_template_kwargs={"loud": True})
    assert ChatRenderer(with_template(template)).text((USER,), side) == "LOUD (user?)"


def test_a_refusal_by_the_template_names_the_roles() -> None:
    strict = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}{% endfor %}"
    with pytest.raises(RowError, match="refuses a conversation of system, user: no system"):
        ChatRenderer(with_template(strict)).text((SYSTEM, USER), Side())
    with pytest.raises(RowError, match="refuses a conversation of user: can only concatenate str"):
        ChatRenderer(with_template("{{ 'a' + messages[0] }}")).text((USER,), Side())


def test_conversations_need_a_template() -> None:
    renderer = Renderer(tiny_tokenizer(chat=False), RenderSection())
    with pytest.raises(DataError, match=r"no chat template. Name one with `model.chat_template`: alpaca, chatml, gemma"):
        renderer.render(Chat((USER, BOT)))

"""Calls of tools between special tokens: DeepSeek, Kimi, gpt-oss, and python's own calls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import pytest

from burnish.errors import ConfigError
from burnish.registry import load
from burnish.rollout.contract import Task
from burnish.rollout.environments.acting import Heard
from burnish.rollout.environments.calls import Parser, ToolCall, parser_of
from burnish.rollout.environments.marked_calls import deepseek, harmony, kimi, pythonic
from burnish.rollout.environments.offer import Tool
from burnish.rollout.environments.tagged_calls import minimax
from burnish.rollout.environments.tools import Calling, ToolPartner
from burnish.rollout.sampler import Completion
from burnish.rollout.waiting import Gate
from burnish.testing import tiny_tokenizer

ADD = ToolCall(name="add", arguments={"a": 1, "b": 2})
NOW = ToolCall(name="now")
SUM = '{"a": 1, "b": 2}'


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("The sum is 3.<｜end▁of▁sentence｜>", []),
        (
            "I add.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n"
            f"{SUM}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{{}}\n```"
            "<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>",
            [ADD, NOW],
        ),
        (
            "I add.</think>Now.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜>"
            f"<｜tool▁call▁begin｜>add<｜tool▁sep｜>{SUM}<｜tool▁call▁end｜><｜tool▁calls▁end｜> Done.<｜end▁of▁sentence｜>",
            [NOW, ADD],
        ),
        (f"<｜tool▁call▁begin｜>add<｜tool▁sep｜>{SUM}<｜tool▁calls▁end｜>", [ADD]),
        (f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{SUM}<｜end▁of▁sentence｜>", [ADD]),
        (f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n{SUM}", [ADD]),
        (f"<｜tool▁call▁begin｜>now<｜tool▁sep｜>{{}}<｜tool▁call▁begin｜>add<｜tool▁sep｜>{SUM}", [NOW, ADD]),
    ],
)
def test_deepseek(text: str, calls: list[ToolCall]) -> None:
    assert deepseek(text) == calls


KIMI_ADD = ToolCall(name="add", arguments={"a": 1, "b": 2}, identity="functions.add:0")
KIMI_NOW = ToolCall(name="now", identity="functions.now:1")


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("The sum is 3.<|im_end|>", []),
        (
            "I add.<|tool_calls_section_begin|><|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>"
            f"{SUM}<|tool_call_end|>"
            "<|tool_call_begin|>functions.now:1<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|><|im_end|>",
            [KIMI_ADD, KIMI_NOW],
        ),
        (f"<|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>{SUM}<|im_end|>", [KIMI_ADD]),
        (f"<|tool_call_begin|>functions.add:0 <|tool_call_argument_begin|> {SUM}", [KIMI_ADD]),
        (
            "<|tool_call_begin|>a.b:c<|tool_call_argument_begin|>{}<|tool_call_end|>",
            [ToolCall(name="a.b:c", identity="a.b:c")],
        ),
    ],
)
def test_kimi(text: str, calls: list[ToolCall]) -> None:
    assert kimi(text) == calls


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("<|channel|>analysis<|message|>Easy.<|end|><|start|>assistant<|channel|>final<|message|>The sum is 3.<|return|>", []),
        (
            "<|channel|>analysis<|message|>I call to=functions.now first.<|end|><|start|>assistant<|channel|>commentary "
            f"to=functions.add <|constrain|>json<|message|>{SUM}<|call|>",
            [ADD],
        ),
        (f" to=functions.add<|channel|>commentary json<|message|>{SUM}<|call|>", [ADD]),
        (
            "<|channel|>commentary<|message|>I look at the clock, then I add.<|end|>"
            "<|start|>assistant to=functions.now<|channel|>commentary json<|message|>{}<|call|>"
            f"<|start|>assistant<|channel|>commentary to=functions.add <|constrain|>json<|message|>{SUM}",
            [NOW, ADD],
        ),
        ("Say it to=functions and all.", []),
    ],
)
def test_harmony(text: str, calls: list[ToolCall]) -> None:
    assert harmony(text) == calls


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("The list is [add(a=1, b=2)].<|im_end|>", []),
        ("<|tool_call_start|>[add(a=1, b=2), now()]<|tool_call_end|>I add.<|im_end|>", [ADD, NOW]),
        ("Now:\n<|python_start|>[add(a=1, b=2)]<|python_end|><|eom|>", [ADD]),
        ("<|tool_call_start|>[now()]<|tool_call_end|> and <|tool_call_start|>add(a=1, b=2)<|im_end|>", [NOW, ADD]),
        (
            "<|tool_call_start|>[put(text='it\\'s\\n', deep={\"of\": [true, None, null]}, less=-1.5, no=false)]"
            "<|tool_call_end|>",
            [ToolCall(name="put", arguments={"text": "it's\n", "deep": {"of": [True, None, None]}, "less": -1.5, "no": False})],
        ),
    ],
)
def test_pythonic(text: str, calls: list[ToolCall]) -> None:
    assert pythonic(text) == calls


@pytest.mark.parametrize(
    ("parser", "text", "said"),
    [
        (deepseek, "<｜tool▁call▁begin｜>add(1, 2)<｜tool▁call▁end｜>", "a call is written as <｜tool▁call▁begin"),
        (deepseek, "<｜tool▁call▁begin｜>add<｜tool▁sep｜>a=1<｜tool▁call▁end｜>", "of add are not valid JSON"),
        (deepseek, "<｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n[1]\n```", "of add are not an object"),
        (deepseek, "<｜tool▁call▁begin｜>function<｜tool▁sep｜>add", "of add are not valid JSON"),
        (deepseek, "<｜tool▁call▁begin｜><｜tool▁sep｜>{}", "a call is written as"),
        (kimi, "<|tool_call_begin|>functions.add:0{}<|tool_call_end|>", "a call is written as <|tool_call_begin|>"),
        (kimi, "<|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>{<|tool_call_end|>", "of add are not valid JSON"),
        (kimi, "<|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>3<|tool_call_end|>", "of add are not an object"),
        (harmony, "<|channel|>commentary to=functions.add json{}<|call|>", "a call is written as <|channel|>commentary"),
        (harmony, "<|channel|>commentary to=functions.add<|message|>a, b<|call|>", "of add are not valid JSON"),
        (pythonic, "<|tool_call_start|>[add(1, 2)]<|tool_call_end|>", "calls are written as [NAME(KEY=VALUE, ...), ...]"),
        (pythonic, "<|tool_call_start|>[add(a=1<|tool_call_end|>", "calls are written as"),
        (pythonic, "<|tool_call_start|>[add(a=print(1))]<|tool_call_end|>", "calls are written as"),
        (pythonic, "<|tool_call_start|>[add(**a)]<|tool_call_end|>", "calls are written as"),
        (pythonic, "<|tool_call_start|>3<|tool_call_end|>", "calls are written as"),
        (pythonic, f"<|tool_call_start|>{'-' * 100_000}1<|tool_call_end|>", "calls are written as"),
        (pythonic, f"<|tool_call_start|>{'a.' * 5000}b()<|tool_call_end|>", "calls are written as"),
        (pythonic, "<|tool_call_start|>[add(a={[1]: 2})]<|tool_call_end|>", "calls are written as"),
    ],
)
def test_what_cannot_be_read_says_why(parser: Parser, text: str, said: str) -> None:
    [call] = parser(text)
    assert said in call.error
    assert not call.arguments


KIMI = (
    "{%- for m in messages -%}<|im_{{ m['role'] }}|>{{ m['role'] }}<|im_middle|>"
    "{%- if m['role'] == 'tool' %}## Return of {{ m['tool_call_id'] }}\n{% endif -%}{{ m['content'] }}"
    "{%- if m['tool_calls'] -%}<|tool_calls_section_begin|>{%- for c in m['tool_calls'] -%}<|tool_call_begin|>{{ c['id'] }}"
    "<|tool_call_argument_begin|>{{ c['function']['arguments'] | tojson }}<|tool_call_end|>{%- endfor -%}"
    "<|tool_calls_section_end|>{%- endif -%}<|im_end|>{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|im_assistant|>assistant<|im_middle|>{%- endif -%}"
)


def template_of(name: str) -> str:
    return KIMI if name == "kimi" else files("trl").joinpath(f"chat_templates/{name}.jinja").read_text()


@pytest.mark.parametrize(
    ("name", "parser"),
    [("deepseekv3", deepseek), ("kimi", kimi), ("gptoss", harmony), ("lfm2_v2", pythonic), ("muse_glimmer", minimax)],
)
def test_the_template_says_who_reads(name: str, parser: Parser) -> None:
    assert parser_of("auto", template_of(name), load()) is parser


@pytest.mark.parametrize("template", [template_of("gemma4"), "<|START_ACTION|>["])
def test_forms_that_nobody_reads_are_refused(template: str) -> None:
    with pytest.raises(ConfigError, match="no parser here reads"):
        parser_of("auto", template, load())


def add(a: int, b: int) -> int:
    return a + b


@pytest.mark.parametrize(
    ("name", "marks", "said", "told"),
    [
        (
            "deepseekv3",
            ["<｜end▁of▁sentence｜>"],
            f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{SUM}\n```<｜tool▁call▁end｜>"
            "<｜tool▁calls▁end｜><｜end▁of▁sentence｜>",
            "<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>3<｜tool▁output▁end｜><｜tool▁outputs▁end｜>",
        ),
        (
            "kimi",
            ["<|im_end|>"],
            f"<|tool_calls_section_begin|><|tool_call_begin|>functions.add:7<|tool_call_argument_begin|>{SUM}<|tool_call_end|>"
            "<|tool_calls_section_end|><|im_end|>",
            "<|im_tool|>tool<|im_middle|>## Return of functions.add:7\n3<|im_end|><|im_assistant|>assistant<|im_middle|>",
        ),
        (
            "gptoss",
            ["<|call|>", "<|return|>", "<|end|>", "<|start|>"],
            "<|channel|>analysis<|message|>I add.<|end|><|start|>assistant to=functions.add<|channel|>commentary json"
            f"<|message|>{SUM}<|call|>",
            '<|start|>functions.add to=assistant<|channel|>commentary<|message|>"3"<|end|><|start|>assistant',
        ),
        (
            "lfm2_v2",
            ["<|im_end|>"],
            "<|tool_call_start|>[add(a=1, b=2)]<|tool_call_end|>I add.<|im_end|>",
            "\n<|im_start|>tool\n<|tool_response_start|>3<|tool_response_end|><|im_end|>\n<|im_start|>assistant\n",
        ),
    ],
)
def test_a_call_is_answered_in_the_families_own_words(name: str, marks: Sequence[str], said: str, told: str) -> None:
    """What stands between the policy's two turns is what its template writes there, whatever else the policy wrote."""
    tokenizer: Any = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(marks)})
    tokenizer.chat_template = template_of(name)
    prompt = ({"role": "user", "content": "1 + 2?"},)
    ids = tokenizer.apply_chat_template(list(prompt), add_generation_prompt=True, return_dict=False)
    partner = ToolPartner({"add": Tool.of(add)}, Calling("auto", None, Gate(None), 100, ""))

    async def play() -> str:
        talk = await partner.begin(Task(ids=tuple(ids), tokenizer=tokenizer, prompt=prompt))
        sampled = tokenizer(said, add_special_tokens=False)["input_ids"]
        talk.hear(Completion(sampled, [-1.0] * len(sampled), finished=True))
        reply = await partner.reply(Heard(*talk.last))
        talk.note_calls(reply.calls)
        talk.tell(reply.messages)
        assert talk.spans[1].ids == tuple(sampled)
        return str(tokenizer.decode(talk.spans[2].ids, skip_special_tokens=False))

    assert asyncio.run(play()) == told

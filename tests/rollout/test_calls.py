"""Calls of tools, as families of models write them."""

from __future__ import annotations

import asyncio
from importlib.resources import files
from pathlib import Path

import pytest

from burnish.errors import ConfigError, PluginError
from burnish.registry import load
from burnish.rollout.environments.calls import Parser, ToolCall, hermes, llama3, mistral, parser_of
from burnish.rollout.environments.offer import Tool
from burnish.rollout.environments.tagged_calls import glm, minimax, qwen3_coder
from burnish.testing import tiny_tokenizer

ADD = ToolCall(name="add", arguments={"a": 1, "b": 2})
NOW = ToolCall(name="now")
RUN = ToolCall(name="run", arguments={"code": "a = 1\n\nprint(a)\n"})


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("The sum is 3.<|im_end|>", []),
        ('I add.\n<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call><|im_end|>', [ADD]),
        ('<tool_call>{"name": "add", "arguments": "{\\"a\\": 1, \\"b\\": 2}"}</tool_call>', [ADD]),
        ('<tool_call>[{"name": "add", "arguments": {"a": 1, "b": 2}}, {"name": "now"}]</tool_call>', [ADD, NOW]),
        ('<tool_call>{"name": "now"}</tool_call>\n<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}', [NOW, ADD]),
        ('<tool_call>{"type": "function", "function": {"name": "now", "arguments": {}}}</tool_call>', [NOW]),
    ],
)
def test_hermes(text: str, calls: list[ToolCall]) -> None:
    assert hermes(text) == calls


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("The sum is 3.<|eot_id|>", []),
        ("{3} is a set.<|eot_id|>", []),
        ('{"name": "add", "parameters": {"a": 1, "b": 2}}<|eom_id|>', [ADD]),
        ('<|python_tag|>{"name": "now"}; {"name": "add", "parameters": {"a": 1, "b": 2}}<|eot_id|>', [NOW, ADD]),
    ],
)
def test_llama3(text: str, calls: list[ToolCall]) -> None:
    assert llama3(text) == calls


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("The sum is 3.</s>", []),
        ('[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1, "b": 2}}]</s>', [ADD]),
        ('[TOOL_CALLS]now[ARGS]{}[TOOL_CALLS]add[ARGS]{"a": 1, "b": 2}</s>', [NOW, ADD]),
    ],
)
def test_mistral(text: str, calls: list[ToolCall]) -> None:
    assert mistral(text) == calls


WRITTEN = ToolCall(name="add", arguments={"a": "1", "b": "2"})


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("The sum is 3.<|im_end|>", []),
        (
            "I add.\n<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\n2\n</parameter>\n</function>\n"
            "</tool_call>\n<tool_call>\n<function=now>\n</function>\n</tool_call><|im_end|>",
            [WRITTEN, NOW],
        ),
        ("<function=add>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\n2", [WRITTEN]),
        ("<function=run><parameter=code>\na = 1\n\nprint(a)\n\n</parameter></function>", [RUN]),
        ('<function=add>{"a": 1, "b": 2}</function><|eom_id|>', [ADD]),
    ],
)
def test_qwen3_coder(text: str, calls: list[ToolCall]) -> None:
    assert qwen3_coder(text) == calls


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("The sum is 3.<|user|>", []),
        ("<tool_call>now</tool_call>", [NOW]),
        (
            "I add.\n<tool_call>add\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n<arg_key>b</arg_key>\n"
            "<arg_value>2</arg_value>\n</tool_call>\n<tool_call>now\n</tool_call><|observation|>",
            [WRITTEN, NOW],
        ),
    ],
)
def test_glm(text: str, calls: list[ToolCall]) -> None:
    assert glm(text) == calls


@pytest.mark.parametrize(
    "text",
    [
        '<minimax:tool_call>\n<invoke name="add">\n<parameter name="a">1</parameter>\n<parameter name="b">2</parameter>\n'
        '</invoke>\n<invoke name="now">\n</invoke>\n</minimax:tool_call>',
        '<｜DSML｜function_calls>\n<｜DSML｜invoke name="add">\n<｜DSML｜parameter name="a" string="false">1'
        '</｜DSML｜parameter>\n<｜DSML｜parameter name="b" string="false">2</｜DSML｜parameter>\n'
        '</｜DSML｜invoke>\n<｜DSML｜invoke name="now">\n'
        "</｜DSML｜invoke>\n</｜DSML｜function_calls>",
    ],
)
def test_minimax(text: str) -> None:
    assert minimax(text) == [WRITTEN, NOW]
    assert minimax("The sum is 3.") == []


@pytest.mark.parametrize(
    ("parser", "text", "said"),
    [
        (qwen3_coder, "<tool_call>add(1, 2)</tool_call>", "a call is written as <function=NAME>"),
        (qwen3_coder, "<function=add>{1}</function>", "the arguments of add are not valid JSON"),
        (glm, "<tool_call>{1}</tool_call>", "a call is written as <tool_call>NAME<arg_key>"),
        (minimax, "<minimax:tool_call>add</minimax:tool_call>", "a call is written as <invoke name="),
    ],
)
def test_what_cannot_be_read_in_tags_says_why(parser: Parser, text: str, said: str) -> None:
    [call] = parser(text)
    assert said in call.error


@pytest.mark.parametrize(
    ("name", "parser"), [("qwen3_5_nothink", qwen3_coder), ("nemotron_3_nano", qwen3_coder), ("glm4moe", glm)]
)
def test_templates_of_the_families(name: str, parser: Parser) -> None:
    """What a family's own template writes of calls is read as what was called, once the tool has looked at it; the template
    tells `auto` who reads. A text that could be a number stays a text where the tool wants one."""
    template = files("trl").joinpath(f"chat_templates/{name}.jinja").read_text()
    assert parser_of("auto", template, load()) is parser

    def look(city: str, days: int, hours: list[int], metric: bool, zone: str | None = None, height: float | None = None) -> str:
        return repr((city, days, hours, metric, zone, height))

    tool = Tool.of(look)
    arguments = {"city": "7\n8", "days": 3, "hours": [1, 2], "metric": True, "zone": None, "height": 1.5}
    given = {key: value for key, value in arguments.items() if value is not None}
    calls = [{"type": "function", "function": {"name": "look", "arguments": given}}]
    said = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "", "tool_calls": calls}]
    tokenizer = tiny_tokenizer()
    bare, text = (tokenizer.apply_chat_template(said, chat_template=template, tokenize=False) for said in (said[:1], said))
    [call] = parser(text.removeprefix(bare))
    assert asyncio.run(tool(call.arguments)).text == repr(tuple(arguments.values()))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('<tool_call>{"name": "add", </tool_call>', "not valid JSON"),
        ("<tool_call>add(1, 2)</tool_call>", "not valid JSON"),
        ("<tool_call>3</tool_call>", "a call is an object"),
        ('<tool_call>{"arguments": {}}</tool_call>', "a call is an object"),
        ('<tool_call>{"name": "add", "arguments": [1, 2]}</tool_call>', "are not an object"),
        ('<tool_call>{"name": "add", "arguments": "a=1"}</tool_call>', "the arguments of add are not valid JSON"),
    ],
)
def test_what_cannot_be_read_says_why(text: str, said: str) -> None:
    [call] = hermes(text)
    assert said in call.error
    assert call.name in ("", "add")
    assert not call.arguments


@pytest.mark.parametrize(
    ("parser", "text"),
    [
        (hermes, '<tool_call>{"name": "add", "arguments": '),
        (llama3, '{"name": "add", "parameters": '),
        (mistral, "[TOOL_CALLS]add[ARGS]"),
        (qwen3_coder, '<function=add>{"a": '),
    ],
)
def test_what_is_nested_too_deeply_is_told_too(parser: Parser, text: str) -> None:
    """As a policy writes that repeats itself: it hears of it as of any other mistake, and its episode goes on."""
    [call] = parser(text + "[" * 10**5)
    assert "not valid JSON" in call.error


def test_the_template_says_who_reads() -> None:
    registry = load()
    templates = {"<|python_tag|>": llama3, "[TOOL_CALLS]": mistral, "<tool_call>": hermes, "no tools": hermes}
    templates |= {"<tool_call><function=a>": qwen3_coder, "<tool_call>a<arg_key>": glm, '<invoke name="a">': minimax}
    assert {text: parser_of("auto", text, registry) for text in templates} == templates
    assert parser_of("mistral", "<tool_call>", registry) is mistral
    with pytest.raises(ConfigError, match="no parser here reads"):
        parser_of("auto", "<start_function_call>", registry)
    with pytest.raises(PluginError, match="no parser named 'hermess'"):
        parser_of("hermess", "", registry)


def test_a_file_of_ones_own_reads(tmp_path: Path) -> None:
    code = "from burnish.rollout.environments.calls import ToolCall\n"
    (tmp_path / "mine.py").write_text(f"{code}def shout(text):\n    return [ToolCall(name='now')] * text.count('!')\n")
    assert parser_of(f"{tmp_path}/mine.py:shout", "", load())("now! now!") == [NOW, NOW]

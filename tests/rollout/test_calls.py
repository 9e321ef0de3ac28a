"""Calls of tools, as families of models write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from burnish.errors import ConfigError, PluginError
from burnish.registry import load
from burnish.rollout.environments.calls import ToolCall, hermes, llama3, mistral, parser_of

ADD = ToolCall(name="add", arguments={"a": 1, "b": 2})
NOW = ToolCall(name="now")


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
    assert not call.name


def test_the_template_says_who_reads() -> None:
    registry = load()
    templates = {"<|python_tag|>": llama3, "[TOOL_CALLS]": mistral, "<tool_call>": hermes, "no tools": hermes}
    assert {text: parser_of("auto", text, registry) for text in templates} == templates
    assert parser_of("mistral", "<tool_call>", registry) is mistral
    with pytest.raises(ConfigError, match="no parser here reads"):
        parser_of("auto", "<tool_call><function=", registry)
    with pytest.raises(PluginError, match="no parser named 'hermess'"):
        parser_of("hermess", "", registry)


def test_a_file_of_ones_own_reads(tmp_path: Path) -> None:
    code = "from burnish.rollout.environments.calls import ToolCall\n"
    (tmp_path / "mine.py").write_text(f"{code}def shout(text):\n    return [ToolCall(name='now')] * text.count('!')\n")
    assert parser_of(f"{tmp_path}/mine.py:shout", "", load())("now! now!") == [NOW, NOW]

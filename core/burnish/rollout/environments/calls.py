"""What the policy asks for: calls of tools, read from its text in the form that its family of models writes.

In: the text of one turn. Out: calls, in order; one that cannot be read says why, for the policy to hear. Knows no tool.
Here are the forms that are JSON as a whole; those in tags are `tagged_calls`, those between special tokens `marked_calls`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from burnish.errors import ConfigError, did_you_mean
from burnish.registry import ParserRecord, Registry, is_custom


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """One call. error: why it cannot be made, in words for the policy; then there are no arguments, and a name where one could
    be read. identity: what the policy itself calls the call by, '' where its family gives calls no names."""

    name: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    identity: str = ""


Parser = Callable[[str], list[ToolCall]]
"""Reads the calls in the text of a turn, its special tokens included; none where the policy called nothing."""


def hermes(text: str) -> list[ToolCall]:
    """`<tool_call>{"name": ..., "arguments": {...}}</tool_call>`: Hermes, Qwen, SmolLM, which may also write a list of them."""
    return [call for block in _BLOCK.findall(text) for call in _read(block)]


def llama3(text: str) -> list[ToolCall]:
    """`{"name": ..., "parameters": {...}}` and nothing else, perhaps after `<|python_tag|>`; several are parted by `;`."""
    body = _END.sub("", text).strip()
    tagged = body.startswith(PYTHON_TAG)
    body = body.removeprefix(PYTHON_TAG).strip()
    if not (tagged or (body.startswith("{") and '"name"' in body)):
        return []
    return [call for part in _objects(body) for call in _read(part)]


def mistral(text: str) -> list[ToolCall]:
    """`[TOOL_CALLS] [{"name": ..., "arguments": {...}}, ...]`, or `[TOOL_CALLS]name[ARGS]{...}`, as newer ones write."""
    _, *blocks = _END.sub("", text).split("[TOOL_CALLS]")
    calls = []
    for block in blocks:
        name, args, given = block.partition("[ARGS]")
        calls += _read(f'{{"name": {json.dumps(name.strip())}, "arguments": {given}}}' if args else block)
    return calls


PYTHON_TAG = "<|python_tag|>"
UNREADABLE = (ValueError, RecursionError)
"""What JSON raises; the second, where it is nested too deeply."""
_BLOCK = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)", re.DOTALL)
_END = re.compile(r"(<\|[a-z_]+\|>|</s>)\s*\Z")
_SIGNS = (
    ("<function=", "qwen3_coder"),
    ("<arg_key>", "glm"),
    ('invoke name="', "minimax"),
    ("<｜tool▁call▁begin｜>", "deepseek"),
    ("<|tool_call_begin|>", "kimi"),
    ("<|channel|>commentary", "harmony"),
    ("<|tool_call_start|>", "pythonic"),
    ("<|python_start|>", "pythonic"),
    *((sign, "") for sign in ("<start_function_call>", "<|tool_call>", "<|START_ACTION|>")),
    ("<tool_call>", "hermes"),
    ("[TOOL_CALLS]", "mistral"),
    (PYTHON_TAG, "llama3"),
)
"""What a chat template says, and who reads the calls that it asks for; '' where nobody does: Gemma, Command."""


def parser_of(name: str, template: str, registry: Registry) -> Parser:
    """The parser called `name`; with `auto` the one that the chat template speaks of, `hermes` where it speaks of none."""
    if name == "auto":
        name = next((reader for sign, reader in _SIGNS if sign in template), "hermes")
        if not name:
            raise ConfigError(
                "parser: the chat template asks for calls in a form that no parser here reads. Name one: "
                f"{did_you_mean('', (record.name for record in registry.records(ParserRecord)))} Or `./file.py:function`"
            )
    parser: Parser = _imported(name) if is_custom(name) else registry.find(ParserRecord, name)
    return parser


def _imported(value: str) -> Any:
    from burnish.registry.custom import import_custom

    return import_custom(value)


def _objects(text: str) -> Iterator[str]:
    """JSON objects one after the other, with `;` between them; what is none of them is the last."""
    decoder = json.JSONDecoder()
    while text:
        try:
            _, end = decoder.raw_decode(text)
        except UNREADABLE:
            end = len(text)
        yield text[:end]
        text = text[end:].lstrip(" ;\n")


def _read(text: str) -> list[ToolCall]:
    """The calls that a JSON object, or a list of them, stands for."""
    try:
        found = json.loads(text)
        return [_call(one) for one in (found if isinstance(found, list) else [found])]
    except UNREADABLE as error:
        return [ToolCall(error=f"the call is not valid JSON: {error}")]


def _call(found: Any) -> ToolCall:
    if isinstance(found, dict) and isinstance(found.get("function"), dict):
        found = found["function"]
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        return ToolCall(error='a call is an object such as {"name": "...", "arguments": {...}}')
    arguments = found.get("arguments", found.get("parameters", {}))
    return called_with(found["name"], arguments if isinstance(arguments, str) else json.dumps(arguments))


def called_with(name: str, given: str, identity: str = "") -> ToolCall:
    """A call of `name`. given: its arguments, as a JSON object."""
    try:
        arguments = json.loads(given)
    except UNREADABLE as error:
        return ToolCall(name=name, error=f"the arguments of {name} are not valid JSON: {error}", identity=identity)
    if not isinstance(arguments, dict):
        return ToolCall(name=name, error=f"the arguments of {name} are not an object with their names", identity=identity)
    return ToolCall(name=name, arguments=arguments, identity=identity)

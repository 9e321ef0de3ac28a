"""Calls of tools between special tokens, which also hold the name; what is called with is JSON, or python in `pythonic`.

In: the text of one turn. Out: calls.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from burnish.rollout.environments.calls import ToolCall, called_with


def deepseek(text: str) -> list[ToolCall]:
    """`<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{...}<｜tool▁call▁end｜>`: DeepSeek V3.1; V3 and R1, where
    `function` stands before the separator, and name and arguments, fenced as JSON, stand after it."""
    return [_separated(body) for body in _DEEPSEEK.findall(text)]


def kimi(text: str) -> list[ToolCall]:
    """`<|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>{...}<|tool_call_end|>`: Kimi K2, which
    counts its calls and expects the answers under the same names."""
    return [_counted(body) for body in _KIMI.findall(text)]


def harmony(text: str) -> list[ToolCall]:
    """`<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{...}<|call|>`: gpt-oss. What it says to
    itself or to the user is no call, whatever it says."""
    messages = (_addressed(message) for message in text.split("<|start|>"))
    return [call for call in messages if call is not None]


def pythonic(text: str) -> list[ToolCall]:
    """`[NAME(KEY=VALUE, ...), ...]`, python's own calls and values, between `<|tool_call_start|>` and `<|tool_call_end|>` or
    `<|python_start|>` and `<|python_end|>`: LFM2, Llama 4."""
    return [call for body in _PYTHONIC.findall(text) for call in _listed(body)]


_DEEPSEEK = re.compile(
    r"<｜tool▁call▁begin｜>(.*?)(?:<｜tool▁calls?▁end｜>|<｜end▁of▁sentence｜>|(?=<｜tool▁call▁begin｜>)|\Z)", re.DOTALL
)
_KIMI = re.compile(
    r"<\|tool_call_begin\|>(.*?)(?:<\|tool_call_end\|>|<\|tool_calls_section_end\|>|<\|im_end\|>|(?=<\|tool_call_begin\|>)|\Z)",
    re.DOTALL,
)
_FENCED = re.compile(r"```(?:json)?\s*(.*?)\s*(?:```|\Z)", re.DOTALL)
_NUMBER = re.compile(r":\d+\Z")
_TO = re.compile(r"\bto=([^\s<]+)")
_OVER = re.compile(r"<\|(?:call|end|return)\|>")
_PYTHONIC = re.compile(r"<\|(?:tool_call|python)_start\|>(.*?)(?:<\|(?:tool_call|python)_end\|>|<\|\w+\|>|\Z)", re.DOTALL)
_JSON_WORDS = {"true": True, "false": False, "null": None}


def _separated(body: str) -> ToolCall:
    head, separator, rest = body.partition("<｜tool▁sep｜>")
    name, given = head.strip(), rest
    if name == "function" and not rest.lstrip().startswith("{"):
        name, _, given = (part.strip() for part in rest.lstrip().partition("\n"))
        fenced = _FENCED.match(given)
        given = fenced[1] if fenced else given
    if not (separator and name):
        return ToolCall(error="a call is written as <｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{...}<｜tool▁call▁end｜>")
    return called_with(name, given)


def _counted(body: str) -> ToolCall:
    identity, separator, given = (part.strip() for part in body.partition("<|tool_call_argument_begin|>"))
    name = _NUMBER.sub("", identity).removeprefix("functions.")
    if not (separator and name):
        form = "<|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>{...}<|tool_call_end|>"
        return ToolCall(error=f"a call is written as {form}")
    return called_with(name, given, identity)


def _addressed(message: str) -> ToolCall | None:
    """The call that a message is, None for one that is addressed to no tool."""
    header, separator, body = message.partition("<|message|>")
    to = _TO.search(header)
    if to is None or not (separator or to[1].startswith("functions.")):
        return None
    if not separator:
        form = "<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{...}<|call|>"
        return ToolCall(error=f"a call is written as {form}")
    return called_with(to[1].removeprefix("functions."), _OVER.split(body)[0])


def _listed(body: str) -> list[ToolCall]:
    """The calls in a list of python's."""
    wrong = ToolCall(error="calls are written as [NAME(KEY=VALUE, ...), ...], with plain values")
    try:
        found = ast.parse(body.strip(), mode="eval").body
        calls = found.elts if isinstance(found, ast.List) else [found]
        return [_python_call(one) or wrong for one in calls]
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last two: nested too deeply
        return [wrong]


def _python_call(found: ast.expr) -> ToolCall | None:
    if not isinstance(found, ast.Call) or found.args or any(one.arg is None for one in found.keywords):
        return None
    try:
        arguments = {str(one.arg): _value(one.value) for one in found.keywords}
    except (ValueError, TypeError):  # TypeError: a list as a key
        return None
    return ToolCall(name=ast.unparse(found.func), arguments=arguments)


def _value(found: ast.expr) -> Any:
    """A plain value; ValueError for what is none."""
    return ast.literal_eval(_Words().visit(found))


class _Words(ast.NodeTransformer):
    """JSON's words for what python calls otherwise."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """The constant that the word stands for."""
        return ast.Constant(_JSON_WORDS[node.id]) if node.id in _JSON_WORDS else node

"""Calls of tools that are written in tags, with the value of each argument as it is, not as JSON.

In: the text of one turn. Out: calls; the values are texts, of which the tool's type hints make numbers and lists.
"""

from __future__ import annotations

import re

from burnish.rollout.environments.calls import ToolCall, called_with


def qwen3_coder(text: str) -> list[ToolCall]:
    """`<tool_call><function=NAME><parameter=KEY>VALUE</parameter>...</function></tool_call>`: Qwen3-Coder, Qwen3.5, Nemotron 3;
    with a JSON object in the place of parameters, Llama 3.1's `<function=NAME>{...}</function>`."""
    calls = [_function(name, body) for name, body in _FUNCTION.findall(text)]
    return calls or _unreadable(text, "<tool_call>", "<function=NAME><parameter=KEY>VALUE</parameter></function>")


def glm(text: str) -> list[ToolCall]:
    """`<tool_call>NAME<arg_key>KEY</arg_key><arg_value>VALUE</arg_value>...</tool_call>`: GLM 4.5 and later."""
    return [call for body in _CALL.findall(text) for call in _keyed(body)]


def minimax(text: str) -> list[ToolCall]:
    """`<invoke name="NAME"><parameter name="KEY">VALUE</parameter>...</invoke>`: MiniMax M2; DeepSeek V3.2 and Muse,
    whose tags say `｜DSML｜` or `atem:` before that."""
    calls = [_call(name, _INVOKED_PARAMETER.findall(body)) for name, body in _INVOKE.findall(text)]
    sign = '<invoke name="NAME"><parameter name="KEY">VALUE</parameter></invoke>'
    return calls or _unreadable(text, "<minimax:tool_call>", sign)


_CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_FUNCTION = re.compile(r"<function=([^>\n]+)>(.*?)(?:</function>|(?=<function=)|\Z)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>\n]+)>(.*?)(?:</parameter>|(?=<parameter=)|\Z)", re.DOTALL)
_PAIR = re.compile(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)(?:</arg_value>|(?=<arg_key>)|\Z)", re.DOTALL)
_PREFIX = r"(?:｜DSML｜|\w+:)?"
_INVOKE = re.compile(rf'<{_PREFIX}invoke name="([^"]+)">(.*?)(?:</{_PREFIX}invoke>|(?=<{_PREFIX}invoke )|\Z)', re.DOTALL)
_INVOKED_PARAMETER = re.compile(rf'<{_PREFIX}parameter name="([^"]+)"[^>]*>(.*?)(?:</{_PREFIX}parameter>|\Z)', re.DOTALL)
_NAME = re.compile(r"[\w.:-]+")


def _function(name: str, body: str) -> ToolCall:
    if body.lstrip().startswith("{"):
        return called_with(name.strip(), body)
    return _call(name, _PARAMETER.findall(body))


def _keyed(body: str) -> list[ToolCall]:
    name = body.partition("<arg_key>")[0].strip()
    if _NAME.fullmatch(name):
        return [_call(name, _PAIR.findall(body))]
    return _unreadable(body, "", "<tool_call>NAME<arg_key>KEY</arg_key><arg_value>VALUE</arg_value></tool_call>")


def _call(name: str, pairs: list[tuple[str, str]]) -> ToolCall:
    """Values stand on lines of their own, which are no part of them."""
    return ToolCall(name=name.strip(), arguments={key.strip(): _bare(value) for key, value in pairs})


def _bare(value: str) -> str:
    return value.removeprefix("\n").removesuffix("\n")


def _unreadable(text: str, begins: str, form: str) -> list[ToolCall]:
    """What the policy is told of a call that is begun and not one."""
    return [ToolCall(error=f"a call is written as {form}")] if begins in text else []

"""The environment `tools`: the policy may call python functions before it answers.

In: a conversation, functions named by a config. Out: an episode that ends with the first turn that calls nothing. The functions
run in the training process: what the config names is code of the user's own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from burnish.data.examples import Message
from burnish.errors import ConfigError
from burnish.registry import is_custom, load
from burnish.registry.custom import import_custom
from burnish.rollout.contract import Episode, Generate, Task
from burnish.rollout.environments.acting import Heard, Reply, act
from burnish.rollout.environments.calls import Parser, ToolCall, parser_of
from burnish.rollout.environments.conversation import Conversation
from burnish.rollout.environments.offer import Answer, Tool, by_name, unknown
from burnish.rollout.metrics import CALLS, FAILURES
from burnish.rollout.waiting import Gate


@dataclass(frozen=True, kw_only=True)
class Tools:
    """The policy may call tools in every turn; its first turn without a call is its answer.

    A tool that raises, is called wrongly or takes too long answers with the error in words, and is counted
    (`tools/failure_frequency`). Rewards see the conversation as messages.
    """

    tools: tuple[Any, ...]
    """Functions, as `./file.py:function` or `module:function`; their type hints and docstrings are what the model is told."""
    parser: str = "auto"
    """Who reads calls in the model's text: `hermes`, `llama3`, `mistral`, `qwen3_coder`, `glm`, `minimax`, `deepseek`, `kimi`,
    `harmony`, `pythonic`, another registered one, or `./file.py:function`; `auto`: who the chat template speaks of."""
    max_turns: int = 8
    """Turns of the policy's at most; an episode that needs more is truncated."""
    call_time_limit: float | None = 30.0
    """Seconds of one call; null for no limit."""
    calls_at_once: int | None = 64
    """Calls of all episodes that run at once; null for no limit."""
    longest_answer: int = 4000
    """Characters of a tool's answer; the rest is cut, said so."""
    instructions: str | None = None
    """What the system's message says of the tools where the chat template is silent on them; null for a text that is made of
    their schemas, '' for nothing."""

    judges = False

    def __post_init__(self) -> None:
        for name, value in (("max_turns", self.max_turns), ("longest_answer", self.longest_answer)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not self.offered:
            raise ValueError("tools: name at least one function, such as ./tools.py:calculator")

    async def __call__(self, task: Task, generate: Generate) -> Episode:
        """Play one row."""
        return await act(task, generate, ToolPartner(self.offered, self.calling), self.max_turns)

    @cached_property
    def offered(self) -> dict[str, Tool]:
        """The tools by name."""
        return by_name(Tool.of(_function(one)) for one in self.tools)

    @cached_property
    def calling(self) -> Calling:
        """How they are called."""
        return Calling(self.parser, self.call_time_limit, Gate(self.calls_at_once), self.longest_answer, self.instructions)


@dataclass(frozen=True)
class Calling:
    """How tools are called, the same for all episodes of a run. Fields as in `Tools`."""

    parser: str
    time_limit: float | None
    gate: Gate
    longest: int
    instructions: str | None
    _parsers: dict[str, Parser] = field(default_factory=dict, compare=False, repr=False)

    def reader(self, tokenizer: Any) -> Parser:
        """Who reads the calls of a model with this tokenizer."""
        template = str(getattr(tokenizer, "chat_template", None) or "")
        if template not in self._parsers:
            self._parsers[template] = parser_of(self.parser, template, load())
        return self._parsers[template]


@dataclass
class ToolPartner:
    """Answers the calls of one episode."""

    tools: Mapping[str, Tool]
    calling: Calling
    notes: dict[str, float] = field(default_factory=lambda: {CALLS: 0.0, FAILURES: 0.0})
    _reader: Parser | None = None

    async def begin(self, task: Task, opening: str = "") -> Conversation:
        """The prompt, with the tools in it."""
        self._reader = self.calling.reader(task.tokenizer)
        schemas = [tool.schema for tool in self.tools.values()]
        said = instructions_for(schemas) if self.calling.instructions is None else self.calling.instructions
        return Conversation.begin(task, schemas, said, opening)

    async def reply(self, heard: Heard) -> Reply:
        """What the tools answer; the end, where none was called."""
        assert self._reader is not None, "an episode begins before it goes on"
        messages: list[Message] = []
        asked = self._reader(heard.text)
        for place, call in enumerate(asked):
            answer = await self._answer(call)
            self.notes[CALLS] += 1
            self.notes[FAILURES] += answer.failed
            messages.append({"role": "tool", "name": call.name, "tool_call_id": _identity(place, call), "content": answer.text})
        return Reply(messages=messages, done=not asked, calls=[_as_message(place, call) for place, call in enumerate(asked)])

    async def reward(self) -> float | None:
        """Rewards judge."""
        return None

    async def close(self) -> None:
        """Functions hold nothing."""

    async def _answer(self, call: ToolCall) -> Answer:
        if call.error:
            return Answer(f"Error: {call.error}", failed=True)
        if call.name not in self.tools:
            return unknown(call.name, self.tools)
        async with self.calling.gate():
            return await self.tools[call.name](call.arguments, self.calling.time_limit, self.calling.longest)


def instructions_for(schemas: Sequence[Mapping[str, Any]]) -> str:
    """What a system's message says of tools, for chat templates that say nothing; calls in the form that `hermes` reads."""
    functions = "\n".join(json.dumps(one["function"], ensure_ascii=False) for one in schemas)
    example = '<tool_call>{"name": "...", "arguments": {"...": "..."}}</tool_call>'
    return f"You have these tools:\n{functions}\nTo call one, write\n{example}\nand nothing more. You are then told its answer."


def _function(named: Any) -> Any:
    if not isinstance(named, str):
        if callable(named):
            return named
        raise ConfigError(f"tools: a tool is named as ./file.py:function or module:function, got {named!r}")
    if not is_custom(named):
        raise ConfigError(f"tools: '{named}' names no function; write ./file.py:function or module:function")
    return import_custom(named)


def _identity(place: int, call: ToolCall) -> str:
    """The policy's own, or nine letters and digits, as some templates ask for."""
    return call.identity or f"call{place:05d}"


def _as_message(place: int, call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": dict(call.arguments)}
    return {"type": "function", "id": _identity(place, call), "function": function}

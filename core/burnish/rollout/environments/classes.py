"""Environments written as classes: one instance plays one episode.

In: a class with `reset` and either `step` or methods that are tools. Out: an environment. `reset(**columns)` may return what
is said first; `step(said)` returns what is said next, or (said, reward, done), or an object with `observation`, `reward` and
`done`; without `step`, every other public method is a tool, as in TRL's `environment_factory`. `reward()` or `get_reward()`
gives what the whole was worth, `close()` gives back what it holds. All of them may be async. Rewards that name `environments`
are given the instances, after that.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

from burnish.config.options import check_options, construct
from burnish.rollout.contract import Episode, Generate, Task
from burnish.rollout.environments.acting import Heard, Partner, Reply, act
from burnish.rollout.environments.conversation import Conversation
from burnish.rollout.environments.offer import Tool, as_text, by_name, called
from burnish.rollout.environments.tools import Calling, ToolPartner
from burnish.rollout.waiting import Gate

OWN = ("reset", "step", "reward", "get_reward", "close")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What stands beside the class's own options in a config."""

    max_turns: int = 16
    """Turns of the policy's at most; an episode that needs more is truncated."""
    call_time_limit: float | None = 60.0
    """Seconds of one call of a method; null for no limit."""
    at_once: int | None = None
    """Instances at once; null for as many as there are episodes."""
    parser: str = "auto"
    """Who reads calls of tools in the model's text."""

    def __post_init__(self) -> None:
        if self.max_turns < 1 or (self.at_once is not None and self.at_once < 1):
            raise ValueError("max_turns and at_once must be at least 1")


LIMITS = tuple(one.name for one in dataclasses.fields(Limits))


@dataclass(frozen=True)
class Playing:
    """An environment of instances. make: gives one, once an episode. judges: whether they say what episodes are worth."""

    make: Callable[[], Any]
    limits: Limits
    judges: bool

    async def __call__(self, task: Task, generate: Generate) -> Episode:
        """Play one row."""
        async with self._gate():
            instance = await called(self.make)
            if callable(getattr(instance, "step", None)):
                partner: Partner = StepPartner(instance, self.limits.call_time_limit)
            else:
                partner = MethodPartner.of(instance, self._calling)
            return replace(await act(task, generate, partner, self.limits.max_turns), instance=instance)

    @cached_property
    def _gate(self) -> Gate:
        return Gate(self.limits.at_once)

    @cached_property
    def _calling(self) -> Calling:
        limits = self.limits
        return Calling(limits.parser, limits.call_time_limit, Gate(), longest=4000, instructions=None)


def environment_of(target: Any, options: Mapping[str, Any], where: str) -> Any:
    """The environment that `target` makes with these options: it is one itself, or a class that plays one episode."""
    if not is_played(target):
        return construct(target, options, where)
    given = {name: value for name, value in options.items() if name not in LIMITS}
    spare = [construct(target, given, where, LIMITS)]  # what it refuses is refused before a weight is read
    checked = check_options(target, given, where, LIMITS)
    limits = construct(Limits, {name: value for name, value in options.items() if name in LIMITS}, where)
    judges = any(callable(getattr(target, name, None)) for name in ("step", "reward", "get_reward"))
    return Playing(lambda: spare.pop() if spare else target(**checked), limits, judges)


def is_played(target: Any) -> bool:
    """Whether a class plays one episode, instead of being an environment itself."""
    return inspect.isclass(target) and callable(getattr(target, "reset", None)) and "__call__" not in dir(target)


@dataclass
class StepPartner:
    """Hears what the policy says through `step`."""

    instance: Any
    time_limit: float | None
    notes: dict[str, float] = field(default_factory=dict)

    async def begin(self, task: Task) -> Conversation:
        """With what `reset` says."""
        return Conversation.begin(task, opening=await _opening(self.instance, task, self.time_limit))

    async def reply(self, heard: Heard) -> Reply:
        """What `step` says."""
        return _reply(await _limited(partial(self.instance.step, heard.said), self.time_limit))

    async def reward(self) -> float | None:
        """What it says itself."""
        return await _reward(self.instance, self.time_limit)

    async def close(self) -> None:
        """Its own."""
        await _close(self.instance, self.time_limit)


@dataclass
class MethodPartner:
    """Offers the public methods of an instance as tools."""

    instance: Any
    answering: ToolPartner
    time_limit: float | None

    @classmethod
    def of(cls, instance: Any, calling: Calling) -> MethodPartner:
        """With all public methods but those that the adapter calls itself."""
        names = [name for name, _ in inspect.getmembers(type(instance), inspect.isfunction)]
        public = [name for name in names if not name.startswith("_") and name not in OWN]
        tools = by_name(Tool.of(getattr(instance, name)) for name in public)
        return cls(instance, ToolPartner(tools, calling), calling.time_limit)

    @property
    def notes(self) -> Mapping[str, float]:
        """Of its tools."""
        return self.answering.notes

    async def begin(self, task: Task) -> Conversation:
        """With what `reset` says."""
        return await self.answering.begin(task, await _opening(self.instance, task, self.time_limit))

    async def reply(self, heard: Heard) -> Reply:
        """What the methods answer."""
        return await self.answering.reply(heard)

    async def reward(self) -> float | None:
        """What it says itself."""
        return await _reward(self.instance, self.time_limit)

    async def close(self) -> None:
        """Its own."""
        await _close(self.instance, self.time_limit)


async def _limited(function: Callable[[], Any], time_limit: float | None) -> Any:
    """What a method gives; TimeoutError ends the episode."""
    return await asyncio.wait_for(called(function), time_limit)


async def _opening(instance: Any, task: Task, time_limit: float | None) -> str:
    """What `reset` says, given the columns of the row that it names."""
    prompt = task.prompt if isinstance(task.prompt, str) else [dict(message) for message in task.prompt]
    columns = {"prompt": prompt, **task.columns}
    parameters = inspect.signature(instance.reset).parameters.values()
    if not any(one.kind is one.VAR_KEYWORD for one in parameters):
        columns = {one.name: columns[one.name] for one in parameters if one.name in columns}
    said = await _limited(partial(instance.reset, **columns), time_limit)
    if isinstance(said, tuple) and said:  # as gymnasium's: (observation, info)
        said = said[0]
    return "" if said is None else as_text(_member(said, "observation", said))


def _reply(said: Any) -> Reply:
    """What `step` returned, in any of the forms it may have."""
    if isinstance(said, tuple) and len(said) in (3, 4, 5):
        observation, reward, done = said[0], said[1], bool(said[2]) or (len(said) == 5 and bool(said[3]))
    elif _member(said, "done", None) is not None:
        observation, reward, done = (_member(said, name, None) for name in ("observation", "reward", "done"))
    else:
        observation, reward, done = said, None, said is None
    messages = [] if observation is None else [{"role": "user", "content": as_text(observation)}]
    return Reply(messages=messages, done=bool(done), reward=None if reward is None else float(reward))


def _member(said: Any, name: str, otherwise: Any) -> Any:
    return said.get(name, otherwise) if isinstance(said, Mapping) else getattr(said, name, otherwise)


async def _reward(instance: Any, time_limit: float | None) -> float | None:
    judge = getattr(instance, "reward", None) or getattr(instance, "get_reward", None)
    if not callable(judge):
        return None
    found = await _limited(judge, time_limit)
    return None if found is None else float(found)


async def _close(instance: Any, time_limit: float | None) -> None:
    if callable(close := getattr(instance, "close", None)):
        await _limited(close, time_limit)

"""Reward functions: found by name, called with completions, checked. In: texts and columns. Out: one number or None each.

A reward is `f(prompts, completions, completion_ids, **columns) -> list[float | None]`, sync or async, the signature of TRL's
reward functions. It gets the arguments that it names (all of them when it takes `**kwargs`). None means that the reward
does not apply to a completion. Knows no model and no token but the ids that it passes on.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from burnish.errors import RewardError, did_you_mean, raised
from burnish.registry.records import RewardRecord
from burnish.rollout.waiting import finish

if TYPE_CHECKING:
    from burnish.registry import Registry


@dataclass(frozen=True)
class Reward:
    """A reward function under the name that metrics and messages call it by. weight: its share in the sum of rewards."""

    name: str
    function: Callable[..., Any]
    weight: float = 1.0


def load_reward(name: str, registry: Registry, weight: float = 1.0, options: Mapping[str, Any] | None = None) -> Reward:
    """The reward registered as `name`, or the code `name` points to. A class or function takes the options."""
    target = registry.find(RewardRecord, name)
    given, short = dict(options or {}), name.rpartition(":")[2]
    try:
        if inspect.isclass(target):
            made: Any = target(**given)
            return Reward(short, made, weight)
        inspect.signature(target).bind_partial(**given)
    except RewardError:
        raise
    except (TypeError, ValueError) as error:
        raise RewardError(f"the reward '{name}' does not take the options {given}: {error}") from error
    return Reward(short, partial(target, **given) if given else target, weight)


def run_rewards(
    rewards: Iterable[Reward],
    prompts: Sequence[Any],
    completions: Sequence[Any],
    completion_ids: Sequence[Sequence[int]],
    columns: Mapping[str, Sequence[Any]],
) -> dict[str, list[float | None]]:
    """Every reward of every completion: name -> one number, or None, per completion. Asynchronous rewards run side by side.

    prompts and completions: str, or lists of messages; columns: name -> one value per completion.
    """
    arguments = {**columns, "prompts": list(prompts), "completions": list(completions), "completion_ids": list(completion_ids)}
    answers = {reward.name: _call(reward, arguments) for reward in rewards}
    waiting = {name: answer for name, answer in answers.items() if inspect.isawaitable(answer)}
    if waiting:
        answers |= finish(_gather(waiting))
    return {name: _checked(name, answer, len(completions)) for name, answer in answers.items()}


def _call(reward: Reward, arguments: Mapping[str, Any]) -> Any:
    parameters = inspect.signature(reward.function).parameters.values()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        required = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
        if lacking := [name for name in required if name not in arguments]:
            hint = did_you_mean(lacking[0], arguments)
            raise RewardError(f"the reward '{reward.name}' asks for '{lacking[0]}', which the rows lack. {hint}")
        arguments = {parameter.name: arguments[parameter.name] for parameter in parameters if parameter.name in arguments}
    try:
        return reward.function(**arguments)
    except Exception as error:
        raise _raised(reward.name, error) from error


async def _gather(waiting: Mapping[str, Awaitable[Any]]) -> dict[str, Any]:
    answers = await asyncio.gather(*waiting.values(), return_exceptions=True)
    for name, answer in zip(waiting, answers, strict=True):
        if isinstance(answer, BaseException):
            raise _raised(name, answer) from answer
    return dict(zip(waiting, answers, strict=True))


def _raised(name: str, error: BaseException) -> RewardError:
    return RewardError(f"the reward '{name}' raised {raised(error)}")


def _checked(name: str, answer: Any, num_completions: int) -> list[float | None]:
    try:
        values = list(answer)
    except TypeError:
        raise RewardError(f"the reward '{name}' must return a list of numbers, got {type(answer).__name__}") from None
    if len(values) != num_completions:
        raise RewardError(f"the reward '{name}' returned {len(values)} values for {num_completions} completions")
    return [None if value is None else _number(name, index, value) for index, value in enumerate(values)]


def _number(name: str, index: int, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise RewardError(f"the reward '{name}' returned {value!r} for completion {index}; it must be a finite number, or None")
    return number

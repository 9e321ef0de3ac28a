"""Reward functions: found by name, asked side by side, each within its own time. In: texts and columns. Out: numbers or None.

A reward is `f(prompts, completions, completion_ids, **columns) -> list[float | None]`, sync or async, the signature of TRL's
reward functions. It gets the arguments that it names (all of them when it takes `**kwargs`). None means that the reward
does not apply to a completion. Knows no model and no token but the ids that it passes on.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from burnish.config.options import check_options
from burnish.errors import RewardError
from burnish.registry.custom import custom_hash, is_custom
from burnish.registry.records import RewardRecord
from burnish.rollout.asking import ENVIRONMENTS, Answer, Call, Failure, Notes, answered, failure_of, given, too_long
from burnish.rollout.pool import Made, Pool
from burnish.rollout.reward_cache import RewardCache
from burnish.rollout.waiting import finish, in_thread

if TYPE_CHECKING:
    from burnish.registry import Registry


@dataclass(frozen=True)
class Reward:
    """A reward function under the name that metrics and messages call it by.

    weight: its share in the sum of rewards. time_limit: seconds that a call may take; of a pool, for one completion. pool: the
    processes that answer in the function's place. cache: where its numbers are kept.
    """

    name: str
    function: Callable[..., Any]
    weight: float = 1.0
    time_limit: float | None = None
    pool: Pool | None = None
    cache: RewardCache | None = None


def load_reward(
    name: str,
    registry: Registry,
    weight: float = 1.0,
    options: Mapping[str, Any] | None = None,
    *,
    time_limit: float | None = None,
    processes: int | None = None,
    cache: Path | None = None,
) -> Reward:
    """The reward registered as `name`, or the code `name` points to. A class or function takes the options.

    time_limit, processes: None for what the record says, else no limit, and the training process itself (0). cache: a folder.
    """
    target = registry.find(RewardRecord, name)
    options, short = dict(options or {}), name.rpartition(":")[2]
    record = next((one for one in registry.records(RewardRecord) if one.name == name), None)
    if record is not None:
        time_limit = record.time_limit if time_limit is None else time_limit
        processes = record.processes if processes is None else processes
    made = Made(name, options, registry.disabled, registry.run_code)
    pool = Pool(short, made, processes, time_limit) if processes else None
    kept = None if cache is None else RewardCache(cache, _identity(name, options, registry))
    function = _function(name, target, options)
    if (pool or kept) and ENVIRONMENTS in inspect.signature(function).parameters:
        what = "asked in other processes" if pool else "kept by content"
        raise RewardError(f"the reward '{name}' looks at the objects that played (`{ENVIRONMENTS}`), so it cannot be {what}")
    return Reward(short, function, weight, time_limit, pool, kept)


def told_apart(rewards: Iterable[Reward]) -> tuple[Reward, ...]:
    """The same, a second one of a name called NAME_2, and so on: metrics and the journal know rewards by name."""
    named: dict[str, Reward] = {}
    for reward in rewards:
        names = (reward.name, *(f"{reward.name}_{number}" for number in range(2, len(named) + 3)))
        name = next(name for name in names if name not in named)
        named[name] = replace(reward, name=name)
    return tuple(named.values())


def run_rewards(
    rewards: Iterable[Reward],
    prompts: Sequence[Any],
    completions: Sequence[Any],
    completion_ids: Sequence[Sequence[int]],
    columns: Mapping[str, Sequence[Any]],
) -> dict[str, list[float | None]]:
    """Every reward of every completion: name -> one number, or None, per completion; RewardError where one fails.

    prompts and completions: str, or lists of messages; columns: name -> one value per completion.
    """
    answers = ask_all(list(rewards), call_of(prompts, completions, completion_ids, columns))
    return {name: [_value(value) for value in answer.values] for name, answer in answers.items()}


def call_of(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    completion_ids: Sequence[Sequence[int]],
    columns: Mapping[str, Sequence[Any]],
    **about: Any,
) -> Call:
    """What rewards are asked about these completions. about: further fields of the call."""
    own = {"prompts": list(prompts), "completions": list(completions), "completion_ids": list(completion_ids)}
    return Call({**columns, **own}, len(completions), **about)


def ask_all(rewards: Sequence[Reward], call: Call, *, one_by_one: bool = False) -> dict[str, Answer]:
    """What every reward says. Those that wait (asynchronous ones, processes, time limits) do so side by side.

    one_by_one: where a reward raises, it is asked again about each completion alone, so that one does not take others with it.
    """
    known = {reward.name: reward.cache.known(call) for reward in rewards if reward.cache is not None}
    told = replace(call, instances=())  # what is kept is known by what was told, and objects have no content to know them by
    calls = {name: told.only([place for place in range(call.size) if place not in found]) for name, found in known.items()}
    asked = [reward for reward in rewards if calls.get(reward.name, call).size]
    answers = {
        reward.name: _retried(partial(ask_directly, reward), calls.get(reward.name, call), one_by_one)
        for reward in asked
        if not _waits(reward)
    }
    if waiting := [reward for reward in asked if _waits(reward)]:
        answers |= finish(_side_by_side([(reward, calls.get(reward.name, call)) for reward in waiting], one_by_one))
    for reward in rewards:
        if reward.cache is not None:
            answers[reward.name] = reward.cache.completed(call, known[reward.name], answers.get(reward.name))
    return answers


def ask_directly(reward: Reward, call: Call) -> Answer:
    """One call, here and now, without a limit."""
    notes = Notes()
    arguments = given(reward.name, reward.function, call, notes)
    try:
        answer = reward.function(**arguments)
        if inspect.isawaitable(answer):
            answer = finish(_awaited(answer))
    except Exception as error:
        return Answer.failed(failure_of(reward.name, error), call.size)
    return answered(reward.name, answer, call, notes)


def _waits(reward: Reward) -> bool:
    return reward.pool is not None or reward.time_limit is not None or _is_async(reward.function)


async def _side_by_side(asked: Sequence[tuple[Reward, Call]], one_by_one: bool) -> dict[str, Answer]:
    answers = await asyncio.gather(*(_within_time(reward, call, one_by_one) for reward, call in asked))
    return {reward.name: answer for (reward, _), answer in zip(asked, answers, strict=True)}


async def _within_time(reward: Reward, call: Call, one_by_one: bool) -> Answer:
    """A call in a thread, in processes or as a coroutine; and again, one by one, where it raised."""
    if reward.pool is not None:
        pooled: Answer = await in_thread(partial(reward.pool, call))
        return pooled
    answer = await _limited(reward, call)
    if not _raised(answer) or not one_by_one or call.size < 2:
        return answer
    return Answer.joined([await _limited(reward, call.only([place])) for place in range(call.size)])


async def _limited(reward: Reward, call: Call) -> Answer:
    notes, limit = Notes(), asyncio.timeout(reward.time_limit)
    asked = partial(reward.function, **given(reward.name, reward.function, call, notes))
    try:
        async with limit:
            answer = asked() if _is_async(reward.function) else await in_thread(asked)
            if inspect.isawaitable(answer):
                answer = await answer
    except Exception as error:
        late = isinstance(error, TimeoutError) and limit.expired()
        failure = too_long(reward.name, reward.time_limit or 0.0, call) if late else failure_of(reward.name, error)
        return Answer.failed(failure, call.size)
    return answered(reward.name, answer, call, notes)


def _retried(ask: Callable[[Call], Answer], call: Call, one_by_one: bool) -> Answer:
    answer = ask(call)
    if not one_by_one or call.size < 2 or not _raised(answer):
        return answer
    return Answer.joined([ask(call.only([place])) for place in range(call.size)])


def _raised(answer: Answer) -> bool:
    """Whether the call as a whole raised."""
    return any(isinstance(value, Failure) and value.error is not None for value in answer.values)


async def _awaited(answer: Any) -> Any:
    return await answer


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _value(value: Any) -> float | None:
    if isinstance(value, Failure):
        raise value.refusal()
    known: float | None = value
    return known


def _function(name: str, target: Any, options: dict[str, Any]) -> Callable[..., Any]:
    try:
        if inspect.isclass(target):
            return cast("Callable[..., Any]", target(**check_options(target, options, "options")))
        inspect.signature(target).bind_partial(**options)
    except RewardError:
        raise
    except (TypeError, ValueError) as error:
        raise RewardError(f"the reward '{name}' does not take the options {options}: {error}") from error
    bound: Callable[..., Any] = partial(target, **options) if options else target
    return bound


def _identity(name: str, options: Mapping[str, Any], registry: Registry) -> str:
    """What a reward's numbers depend on beside its arguments."""
    code = custom_hash(name) if is_custom(name) else registry.provider(registry.get(RewardRecord, name)).hash
    return json.dumps([name, code, dict(options)], sort_keys=True, default=repr)

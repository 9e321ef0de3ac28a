"""`check_reward`, `check_advantage`, `check_backend`, `check_environment`. In: one by name, class or object. Out: a report.

A reward is called on completions. Of a backend and an environment only the members and their signatures are looked at: no model
is started and no episode played.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from burnish.config.options import construct
from burnish.errors import BurnishError, RewardError
from burnish.registry import AdvantageRecord, BackendRecord, EnvironmentRecord, Record, RewardRecord
from burnish.rollout.environments.classes import environment_of, is_played
from burnish.rollout.rewards import Reward, run_rewards
from burnish.testing.conformance import advantages
from burnish.testing.conformance.checking import Broken, Check, Rows, run_checks
from burnish.testing.conformance.contract import broken, contract
from burnish.testing.conformance.report import Report
from burnish.testing.conformance.subject import installed, target_of, title_of
from burnish.testing.tiny import tiny_tokenizer

SAMPLES: Rows = (
    {"prompt": "2 + 2?", "completion": "4"},
    {"prompt": "2 + 2?", "completion": "It is four."},
    {"prompt": "Say nothing.", "completion": ""},
)
NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
METHODS: dict[type[Record], dict[str, tuple[str, ...]]] = {
    BackendRecord: {"generate": ("ids", "sampling", "seed"), "update": ("version", "weights"), "close": ()},
    EnvironmentRecord: {"__call__": ("task", "generate")},
}
"""What is awaited of each, and with which arguments."""
ADAPTERS = {"load_adapter": ("version", "weights", "config")}
"""And of a backend that declares that it loads adapters."""
REST: dict[str, tuple[str, ...]] = {"rest": ()}
"""And of a backend that has it."""


@dataclass(frozen=True)
class Called:
    """A function, or an instance with members, that is looked at."""

    kind: type[Record]
    made: Any


def check_reward(reward: Any, *, data: Rows | None = None, options: Mapping[str, Any] | None = None) -> Report:
    """A reward, called on completions. data: rows with `prompt`, `completion` and the columns that it asks for; one that asks
    for columns is not called without them."""
    return _checked(RewardRecord, reward, options, REWARD, data or SAMPLES)


def check_advantage(advantage: Any, *, options: Mapping[str, Any] | None = None) -> Report:
    """An advantage, on the rewards of drawn groups."""
    return _checked(AdvantageRecord, advantage, options, ADVANTAGE, SAMPLES)


def check_backend(backend: Any, *, options: Mapping[str, Any] | None = None) -> Report:
    """A backend: its members and their signatures; it is not started."""
    return _checked(BackendRecord, backend, options, SIGNATURES, SAMPLES)


def check_environment(environment: Any, *, options: Mapping[str, Any] | None = None) -> Report:
    """An environment: its signature; no episode is played."""
    return _checked(EnvironmentRecord, environment, options, SIGNATURES, SAMPLES)


def _checked(
    kind: type[Record], given: Any, options: Mapping[str, Any] | None, checks: tuple[Check[Called], ...], rows: Rows
) -> Report:
    registry = installed()
    title, kept = title_of(kind.word, given), contract(kind, given, registry)
    if not kept.passed:
        return Report(title, (kept,))
    target = target_of(kind, given, registry)
    try:
        made = target if _is_looked_at(kind, target, options) else _made(kind, target, options or {}, title)
    except BurnishError as error:
        return Report(title, (broken(error),))
    if kind is RewardRecord and _asks_for(made) - rows[0].keys():
        checks = (DOCUMENTED,)
    return Report(title, (kept, *run_checks(Called(kind, made), checks, [rows])))


def _is_looked_at(kind: type[Record], target: Any, options: Mapping[str, Any] | None) -> bool:
    """Whether a class is looked at instead of an instance: a backend may connect to something when it is made, an environment
    may need to be told what to play."""
    if not inspect.isclass(target) or kind is BackendRecord:
        return True
    parameters = inspect.signature(target).parameters.values()
    needed = any(one.default is one.empty and one.kind in NAMED for one in parameters)
    return kind is EnvironmentRecord and options is None and needed and not is_played(target)


def _made(kind: type[Record], target: Any, options: Mapping[str, Any], title: str) -> Any:
    return environment_of(target, options, title) if kind is EnvironmentRecord else construct(target, options, title)


def _asks_for(reward: Callable[..., Any]) -> set[str]:
    """Columns that a reward cannot do without."""
    parameters = inspect.signature(reward).parameters.values()
    needed = {parameter.name for parameter in parameters if parameter.default is parameter.empty and parameter.kind in NAMED}
    return needed - {"prompts", "completions", "completion_ids"}


def answers(subject: Called, rows: Rows) -> None:
    """One number, or None, for every completion; for text and for messages."""
    for as_messages in (False, True):
        _rewards(subject, rows, as_messages)


def repeats(subject: Called, rows: Rows) -> None:
    """The same completions get the same rewards, and in another order each still gets its own."""
    first, again, turned = (_rewards(subject, order, False) for order in (rows, rows, rows[::-1]))
    if first != again:
        raise Broken(f"the rewards are {first} first and {again} then")
    if turned[::-1] != first:
        raise Broken(f"the rewards are {first}, and {turned[::-1]} for the same completions in reverse order")


def documented(subject: Called, _: Rows) -> None:
    """It says in words what it does."""
    target = subject.made if inspect.isclass(subject.made) or inspect.isfunction(subject.made) else type(subject.made)
    text = target.__doc__ or ""
    if not text.strip() or (dataclasses.is_dataclass(target) and text.startswith(f"{target.__name__}(")):
        raise Broken("there is no docstring")


def signatures(subject: Called, _: Rows) -> None:
    """What is awaited is a coroutine that takes the arguments it is given."""
    target = subject.made if inspect.isclass(subject.made) else type(subject.made)
    declared = getattr(target, "capabilities", None) if subject.kind is BackendRecord else None
    adapters = ADAPTERS if getattr(declared, "adapters", False) else {}
    rest = REST if subject.kind is BackendRecord and hasattr(target, "rest") else {}
    for name, arguments in {**METHODS[subject.kind], **adapters, **rest}.items():
        method = subject.made if inspect.isfunction(subject.made) else getattr(target, name, None)
        if not inspect.iscoroutinefunction(method):
            raise Broken(f"{name}({', '.join(arguments)}) is not an `async def`" if method else f"there is no {name}()")
        given = (None,) * (len(arguments) + (not inspect.isfunction(subject.made)))
        try:
            inspect.signature(method).bind(*given)
        except TypeError as error:
            raise Broken(f"{name}() cannot be called with ({', '.join(arguments)}): {error}") from error


def _rewards(subject: Called, rows: Rows, as_messages: bool) -> list[float | None]:
    def said(text: str, role: str) -> Any:
        return [{"role": role, "content": text}] if as_messages else text

    tokenizer = tiny_tokenizer(chat=False)
    columns = {name: [row[name] for row in rows] for name in rows[0] if name not in ("prompt", "completion")}
    function: Callable[..., Any] = subject.made
    try:
        found = run_rewards(
            [Reward("reward", function)],
            [said(row["prompt"], "user") for row in rows],
            [said(row["completion"], "assistant") for row in rows],
            [tokenizer(row["completion"], add_special_tokens=False)["input_ids"] for row in rows],
            columns,
        )
    except RewardError as error:
        raise Broken(f"with {'messages' if as_messages else 'text'}: {error}") from error
    return found["reward"]


def _with_made(check: Callable[[Any], None]) -> Callable[[Called, Rows], None]:
    return lambda subject, _: check(subject.made)


DOCUMENTED: Check[Called] = Check("docstring", "a class whose name says all, to its author", documented, on_rows=False)
REWARD: tuple[Check[Called], ...] = (
    DOCUMENTED,
    Check("answers", "a completion that is messages, or empty; a list of another length", answers),
    Check("repeats", "a draw, a clock, or a reward that depends on its neighbours", repeats),
)
ADVANTAGE: tuple[Check[Called], ...] = (
    DOCUMENTED,
    Check("needs", "a misspelt name", _with_made(advantages.needs), on_rows=False),
    Check("shapes", "a division by a spread of 0, or by n - 1 of a group of one", _with_made(advantages.shapes), on_rows=False),
    Check("pure", "a draw, or an operation in place", _with_made(advantages.pure), on_rows=False),
    Check("order", "a baseline over neighbours, or a tie broken by place", _with_made(advantages.order), on_rows=False),
)
SIGNATURES: tuple[Check[Called], ...] = (
    DOCUMENTED,
    Check("signatures", "`def` without `async`, or an argument more", signatures, on_rows=False),
)

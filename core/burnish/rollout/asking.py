"""Asking one reward: what it is given, what it answers, and what is wrong with an answer.

In: the arguments of a call, one value per completion each. Out: for every completion a number, None, numbers of its steps, or a
`Failure`; and what the reward wrote down beside.

Knows the calling convention and nothing of processes, time or trajectories.
"""

from __future__ import annotations

import inspect
import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from burnish.errors import RewardError, did_you_mean, raised

EXTRAS = ("trainer_state", "log_extra", "log_metric")
"""What TRL gives a reward beside the columns: the state of training, and two functions to write things down with."""
ENVIRONMENTS = "environments"
"""And where objects play: those of the completions."""
SHOWN = 80  # characters of a wrong value in a message


@dataclass(frozen=True)
class Failure:
    """Why there is no number. outcome: what the completion's episode counts as; sentence: names the reward and the completion;
    trace: of what the reward raised; error: the exception itself, where it was raised in this process."""

    outcome: Literal["reward_error", "timeout"]
    sentence: str
    trace: str = ""
    error: BaseException | None = None

    def refusal(self) -> RewardError:
        """The error that ends a run over this."""
        refusal = RewardError(self.sentence)
        refusal.__cause__ = self.error
        return refusal


Value = Any  # a float, None, `contract.Steps` (not imported here: it brings torch into every process) or a Failure


@dataclass(frozen=True)
class Call:
    """What a reward is asked: arguments by name, one value per completion each. whose: each completion's row, for messages.
    state: what `trainer_state` is; extras: whether a function that takes anything is given the extras. tokenizer: the policy's,
    for functions that name it and run in this process. instances: likewise, what TRL calls `environments`: the objects that
    played, one per completion, None for one that had none."""

    arguments: Mapping[str, Sequence[Any]]
    size: int
    whose: Sequence[str] = ()
    state: Any = None
    extras: bool = False
    tokenizer: Any = None
    instances: Sequence[Any] = ()

    def only(self, places: Sequence[int]) -> Call:
        """The same of some completions."""
        arguments = {name: [values[place] for place in places] for name, values in self.arguments.items()}
        instances = [self.instances[place] for place in places] if self.instances else ()
        named = [self.named(place) for place in places]
        return replace(self, arguments=arguments, size=len(places), whose=named, instances=instances)

    def named(self, place: int) -> str:
        """A completion in words."""
        return self.whose[place] if self.whose else f"completion {place}"


@dataclass(frozen=True)
class Answer:
    """What a reward said. columns: further ones of the completions' table, by `log_extra`; metrics: by `log_metric`."""

    values: list[Value]
    columns: Mapping[str, list[Any]] = field(default_factory=dict)
    metrics: Mapping[str, list[float]] = field(default_factory=dict)

    @classmethod
    def failed(cls, failure: Failure, size: int) -> Answer:
        """Nothing but the reason."""
        return cls([failure] * size)

    @classmethod
    def joined(cls, answers: Sequence[Answer]) -> Answer:
        """Answers of consecutive completions as one."""
        names = dict.fromkeys(name for one in answers for name in one.columns)
        columns = {
            name: [value for one in answers for value in one.columns.get(name, [None] * len(one.values))] for name in names
        }
        metrics: dict[str, list[float]] = {}
        for one in answers:
            for name, values in one.metrics.items():
                metrics.setdefault(name, []).extend(values)
        return cls([value for one in answers for value in one.values], columns, metrics)


class Notes:
    """What a reward writes down while it is asked: the two functions that TRL gives it."""

    def __init__(self) -> None:
        self.columns: dict[str, list[Any]] = {}
        self.metrics: dict[str, list[float]] = {}

    def log_extra(self, column: str, values: Sequence[Any]) -> None:
        """Further column of the completions' table, one value per completion."""
        self.columns.setdefault(column, []).extend(values)

    def log_metric(self, name: str, value: float) -> None:
        """A number to be averaged and logged."""
        self.metrics.setdefault(name, []).append(float(value))


def trainer_state(step: int, num_steps: int) -> Any:
    """What TRL tells a reward of the training, after so many of its steps."""
    from transformers import TrainerState

    return TrainerState(global_step=step, max_steps=num_steps)


def given(name: str, function: Callable[..., Any], call: Call, notes: Notes) -> dict[str, Any]:
    """The arguments that a reward names, all where it takes any; RewardError when it asks for what the rows lack."""
    extras = dict(zip(EXTRAS, (call.state, notes.log_extra, notes.log_metric), strict=True))
    parameters = inspect.signature(function).parameters.values()
    named = {parameter.name for parameter in parameters}
    extras |= {"tokenizer": call.tokenizer} if "tokenizer" in named else {}
    everything = {**extras, **call.arguments}
    if any(instance is not None for instance in call.instances):
        everything |= {ENVIRONMENTS: list(call.instances)}
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    single = [one for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    required = [parameter.name for parameter in single if parameter.default is parameter.empty]
    if lacking := [parameter for parameter in required if parameter not in everything]:
        if lacking[0] == ENVIRONMENTS:
            raise RewardError(
                f"the reward '{name}' asks for the objects that played (`{ENVIRONMENTS}`), and none did: that is for an "
                "environment which is a class with `reset`, played in the process of the reward"
            )
        hint = did_you_mean(lacking[0], call.arguments)
        raise RewardError(f"the reward '{name}' asks for '{lacking[0]}', which the rows lack. {hint}")
    if takes_any:
        return {key: value for key, value in everything.items() if call.extras or key in named or key not in EXTRAS}
    return {parameter.name: everything[parameter.name] for parameter in parameters if parameter.name in everything}


def answered(name: str, answer: Any, call: Call, notes: Notes) -> Answer:
    """What a reward returned, checked: one finite number, or None, per completion."""
    try:
        values = list(answer)
    except TypeError:
        found = f"the reward '{name}' must return a list of numbers, got {type(answer).__name__}: {_short(answer)}"
        return Answer.failed(Failure("reward_error", found), call.size)
    if len(values) != call.size:
        found = f"the reward '{name}' returned {len(values)} values for {call.size} completions: {_short(values)}"
        return Answer.failed(Failure("reward_error", found), call.size)
    if odd := [column for column, noted in notes.columns.items() if len(noted) != call.size]:
        found = f"the reward '{name}' logged {len(notes.columns[odd[0]])} values '{odd[0]}' for {call.size} completions"
        return Answer.failed(Failure("reward_error", found), call.size)
    numbers = [_number(name, value, call.named(place)) for place, value in enumerate(values)]
    return Answer(numbers, notes.columns, notes.metrics)


def failure_of(name: str, error: BaseException) -> Failure:
    """What a reward raised."""
    trace = "".join(traceback.format_exception(error))
    return Failure("reward_error", f"the reward '{name}' raised {raised(error)}", trace, error)


def too_long(name: str, seconds: float, call: Call) -> Failure:
    """A reward that did not come back."""
    what = call.named(0) if call.size == 1 else f"{call.size} completions"
    return Failure("timeout", f"the reward '{name}' took longer than its time limit of {seconds:g} s for {what}")


def _number(name: str, value: Any, whose: str) -> Value:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        from burnish.rollout.contract import Steps

        if isinstance(value, Steps):
            return value
        number = math.nan
    if math.isfinite(number):
        return number
    return Failure(
        "reward_error", f"the reward '{name}' returned {_short(value)} for {whose}; it must be a finite number, or None"
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."

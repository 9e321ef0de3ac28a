"""Judging: rewards of trajectories, and from the rewards of groups their advantages.

In: the trajectories of a rollout batch, and the rows that they came from. Out: the same trajectories with rewards and, where
they can be trained on, an advantage for every token of the policy's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from burnish.data.examples import Example, prompt_of
from burnish.errors import RewardError
from burnish.objective.ragged import Ragged
from burnish.rollout.asking import Answer, Call, Failure
from burnish.rollout.contract import Advantage, Groups, Steps
from burnish.rollout.prompts import as_list, columns_of, completion_said
from burnish.rollout.rewards import Reward, ask_all, call_of
from burnish.rollout.trajectory import NOTHING_APPLIES, Trajectory, by_group


@dataclass(frozen=True)
class Judge:
    """Rewards, by functions and by the environment.

    on_error: what becomes of the run when a reward fails: it stops, or the completion is left out (`drop`). state: gives what
    TRL calls `trainer_state`, where there is one. tells: is given a sentence when a reward fails, once for every kind.
    """

    rewards: Sequence[Reward]
    tokenizer: Any
    on_error: Literal["stop", "drop"] = "stop"
    state: Callable[[], Any] | None = None
    tells: Callable[[str], None] = print
    _told: set[str] = field(default_factory=set)

    def __call__(self, trajectories: Sequence[Trajectory], examples: Sequence[Example]) -> list[Trajectory]:
        """The trajectories with their rewards. One that nothing applies to is filtered; one whose reward failed has an outcome
        that says so, or RewardError. examples: each one's row."""
        whole = [place for place, one in enumerate(trajectories) if one.is_trainable]
        judged = [replace(one, instance=None) for one in trajectories]  # what played is not kept longer than it is looked at
        if not whole:
            return judged
        answers = ask_all(self.rewards, self._call(trajectories, examples, whole), one_by_one=self.on_error == "drop")
        for index, place in enumerate(whole):
            judged[place] = self._judged(judged[place], index, answers)
        return judged

    def _call(self, trajectories: Sequence[Trajectory], examples: Sequence[Example], whole: Sequence[int]) -> Call:
        """What rewards are asked about the trajectories at these places."""
        prompts = [as_list(prompt_of(examples[place])) for place in whole]
        written = [trajectories[place].ids[trajectories[place].own].tolist() for place in whole]
        said = [
            list(trajectories[place].said) or completion_said(self.tokenizer, prompt, ids)
            for place, prompt, ids in zip(whole, prompts, written, strict=True)
        ]
        columns = columns_of([examples[place] for place in whole])
        whose = [f"row {trajectories[place].origin.row} of {trajectories[place].origin.source}" for place in whole]
        about: dict[str, Any] = {"state": self.state(), "extras": True} if self.state is not None else {}
        about |= {"instances": [trajectories[place].instance for place in whole], "tokenizer": self.tokenizer}
        return call_of(prompts, said, written, columns, whose=whose, **about)

    def _judged(self, one: Trajectory, index: int, answers: Mapping[str, Answer]) -> Trajectory:
        """With what the rewards say of the completion that was at `index`."""
        columns = {name: noted[index] for answer in answers.values() for name, noted in answer.columns.items()}
        logged = {name: fmean(values) for answer in answers.values() for name, values in answer.metrics.items()}
        one = replace(one, columns=columns, logged=logged)
        values = {name: answer.values[index] for name, answer in answers.items()}
        for failure in (value for value in values.values() if isinstance(value, Failure)):
            if self.on_error == "stop":
                raise failure.refusal()
            self._tell(failure)
            return replace(one, rewards={}, outcome=failure.outcome, error=failure.trace or failure.sentence)
        for name, value in values.items():
            one = _given(one, name, value)
        weights = {reward.name: reward.weight for reward in self.rewards}
        applying = [weights.get(name, 1.0) * value for name, value in one.rewards.items() if value is not None]
        if not applying:
            return replace(one, outcome="filtered", error=NOTHING_APPLIES)
        return replace(one, reward=sum(applying))

    def _tell(self, failure: Failure) -> None:
        kind = type(failure.error).__name__ if failure.error else failure.outcome
        if kind not in self._told:
            self._told.add(kind)
            self.tells(f"{failure.sentence}: the completion is left out ({failure.outcome})")


def _given(one: Trajectory, name: str, value: float | Steps | None) -> Trajectory:
    """With a reward, for the whole or for its steps, which then end where the reward says too."""
    if not isinstance(value, Steps):
        return replace(one, rewards={**one.rewards, name: value})
    if not value.rewards:
        return replace(one, rewards={**one.rewards, name: None})
    places = np.flatnonzero(one.own)
    if value.ends[-1] >= len(places):
        raise RewardError(f"the reward '{name}' judges token {value.ends[-1]} of a completion that has {len(places)}")
    earned = np.zeros(len(one.ids), np.float32)
    earned[places[[*value.ends]]] = value.rewards
    ends = np.diff(_steps(one)[places], append=np.inf) > 0
    ends[[*value.ends]] = True
    steps = np.zeros(len(one.ids), np.float32)
    steps[places] = np.cumsum(ends) - ends
    return one.with_tokens(steps=steps).with_earned(name, earned)


def with_advantages(
    trajectories: Sequence[Trajectory], advantage: Advantage, weights: Mapping[str, float], greedy: Mapping[int, float]
) -> list[Trajectory]:
    """Trajectories with `advantages` per token; those that the advantage does not keep are filtered, failed ones left alone.

    weights: of the rewards by name. greedy: by group, the reward of the most likely completion, for advantages that need it.
    """
    enter = [one for one in trajectories if one.is_trainable and not one.is_opponent]
    groups = by_group(enter)
    flat = [one for members in groups for one in members]
    rest = [one for one in trajectories if not one.is_trainable or one.is_opponent]
    if not flat:
        return list(rest)
    needs: frozenset[str] = getattr(advantage, "needs", frozenset())
    seen = _groups(groups, weights, greedy, needs)
    if "opponents" in needs:
        seen = replace(seen, opponents=_opponents(groups, rest))
    values = advantage(seen)
    per_completion = _per_token(values, seen, flat, type(advantage).__name__)
    keeps: Any = getattr(advantage, "keeps", None)
    kept = [True] * len(flat) if keeps is None else keeps(seen).tolist()
    returns: Any = getattr(advantage, "returns", None)
    learnt = [None] * len(flat) if returns is None else _per_token(returns(seen), seen, flat, "returns")
    done = []
    for one, numbers, goal, stays in zip(flat, per_completion, learnt, kept, strict=True):
        tokens = {"advantages": _spread(one, numbers)} | ({} if goal is None else {"returns": _spread(one, goal)})
        done.append(replace(one.with_tokens(**tokens), outcome=one.outcome if stays else "filtered"))
    return [*done, *rest]


def _opponents(groups: list[list[Trajectory]], rest: Sequence[Trajectory]) -> Ragged:
    """Rewards of the opponents of each group: [opponents] in [groups]."""
    found: dict[int, list[float]] = {members[0].origin.group: [] for members in groups}
    for one in sorted(rest, key=lambda one: -one.origin.member):
        if one.is_trainable and one.origin.group in found:
            found[one.origin.group].append(one.reward)
    sizes = torch.tensor([len(rewards) for rewards in found.values()], dtype=torch.int64)
    return Ragged(torch.tensor([reward for rewards in found.values() for reward in rewards], dtype=torch.float64), sizes)


def _groups(
    groups: list[list[Trajectory]], weights: Mapping[str, float], greedy: Mapping[int, float], needs: frozenset[str]
) -> Groups:
    flat = [one for members in groups for one in members]
    sizes = torch.tensor([len(members) for members in groups], dtype=torch.int64)
    names = sorted({name for one in flat for name in one.rewards})
    apart = "token_rewards" in needs  # what tokens earned stays with them

    def of_completions(numbers: Sequence[float]) -> Ragged:
        return Ragged(torch.tensor(numbers, dtype=torch.float64), sizes)

    def of_tokens(numbers: Callable[[Trajectory], Any]) -> Ragged:
        joined = np.concatenate([numbers(one)[one.own] for one in flat]).astype(np.float64)
        return Ragged(torch.from_numpy(joined), torch.tensor([one.length for one in flat], dtype=torch.int64))

    def part(name: str) -> list[float]:
        found = [one.rewards.get(name) for one in flat]
        return [math.nan if value is None else value for value in found]

    def whole(one: Trajectory) -> float:
        return sum(weights.get(name, 1.0) * (value or 0.0) for name, value in one.rewards.items() if name not in one.earned)

    def earned(one: Trajectory) -> Any:
        return sum((weights.get(name, 1.0) * numbers for name, numbers in one.earned.items()), np.zeros(len(one.ids)))

    return Groups(
        rewards=of_completions([whole(one) if apart else one.reward for one in flat]),
        parts={name: of_completions(part(name)) for name in names},
        weights={name: weights.get(name, 1.0) for name in names},
        lengths=of_completions([float(one.length) for one in flat]),
        values=of_tokens(lambda one: one.tokens["old_value"]) if "values" in needs else None,
        token_rewards=of_tokens(earned) if apart else None,
        steps=of_tokens(_steps) if "steps" in needs else None,
        greedy=torch.tensor([greedy[members[0].origin.group] for members in groups], dtype=torch.float64)
        if "greedy" in needs
        else None,
    )


def _steps(one: Trajectory) -> Any:
    """The step or turn that each token belongs to, from 0: [T]."""
    return one.tokens.get("steps", np.zeros(len(one.ids), np.float32))


def _per_token(values: Ragged, seen: Groups, flat: list[Trajectory], name: str) -> list[Tensor]:
    """For each trajectory, one number or one per token of the policy's; RewardError for other shapes, and for no numbers."""
    numbers = values.values
    if not bool(torch.isfinite(numbers).all()):
        raise RewardError(f"the advantage '{name}' gave {float(numbers[~torch.isfinite(numbers)][0])}; it gives finite numbers")
    if torch.equal(values.lengths, seen.rewards.lengths):
        return list(numbers)
    lengths = [one.length for one in flat]
    if values.lengths.tolist() != lengths:
        raise RewardError(
            f"the advantage '{name}' gave {len(numbers)} numbers for {len(flat)} completions of {sum(lengths)} tokens; "
            "it gives one for each completion, or for each token"
        )
    return list(torch.split(numbers, lengths))


def _spread(one: Trajectory, numbers: Tensor) -> Any:
    """Numbers of the policy's tokens among all T: [T]."""
    spread = np.zeros(len(one.ids), np.float32)
    spread[one.own] = numbers.numpy()
    return spread

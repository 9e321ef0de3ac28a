"""Rewards of turns and steps: on the tokens that they belong to, through the judge, the groups, the journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from played import prompt

from burnish.errors import RewardError
from burnish.objective.ragged import Ragged
from burnish.rollout.contract import Episode, Groups, Span, Steps
from burnish.rollout.journal import Journal
from burnish.rollout.judge import Judge, with_advantages
from burnish.rollout.metrics import rollout_metrics
from burnish.rollout.rewards import Reward
from burnish.rollout.sampler import Completion
from burnish.rollout.trajectory import Origin, Trajectory
from burnish.testing import tiny_tokenizer

SAID = ({"role": "assistant", "content": "up"}, {"role": "user", "content": "on"}, {"role": "assistant", "content": "down"})


def turn(ids: Sequence[int], reward: float | None) -> Span:
    """What the policy wrote in one turn."""
    said = Completion(list(ids), [-1.0] * len(ids), finished=True)
    return Span(ids=tuple(ids), sampled=said, reward=reward)


def two_turns(member: int, first: float | None, second: float | None, whole: float | None = None) -> Trajectory:
    """Prompt 1, two tokens of the policy's, one of the environment's, one of the policy's: [1 | 5 6 | 2 | 7]."""
    spans = (Span(ids=(1,)), turn([5, 6], first), Span(ids=(2,)), turn([7], second))
    episode = Episode(spans=spans, reward=whole, said=SAID, notes={"tool_calls": 2.0, "tool_failures": 1.0})
    return Trajectory.of(Origin("main", 0, 0, 0, member), episode, version=3)


def judged(*members: Trajectory, rewards: Sequence[Reward] = ()) -> list[Trajectory]:
    judge = Judge(tuple(rewards), tiny_tokenizer(chat=False))
    return judge(members, [prompt(0).example for _ in members])


@dataclass
class Looks:
    """An advantage that keeps what it is shown."""

    needs: frozenset[str] = frozenset({"token_rewards", "steps"})
    seen: list[Groups] = field(default_factory=list)

    def __call__(self, groups: Groups) -> Ragged:
        self.seen.append(groups)
        return groups.rewards


def shown(members: Sequence[Trajectory], needs: frozenset[str], weights: dict[str, float] | None = None) -> Groups:
    looks = Looks(needs)
    with_advantages(members, looks, weights or {}, {})
    return looks.seen[0]


def test_a_turns_reward_is_at_its_last_token() -> None:
    one = two_turns(0, 0.5, -2.0)
    assert one.earned["turns"].tolist() == [0, 0, 0.5, 0, -2.0]
    assert one.tokens["steps"].tolist() == [0, 0, 0, 0, 1]
    assert one.rewards == {"turns": -1.5}


def test_turns_are_summed_for_advantages_that_do_not_ask() -> None:
    members = judged(two_turns(0, 0.5, -2.0, whole=1.0), two_turns(1, None, 3.0))
    assert [one.reward for one in members] == [-0.5, 3.0]  # 1 + .5 - 2, and 3
    groups = shown(members, frozenset())
    assert groups.rewards.values.tolist() == [-0.5, 3.0]
    assert groups.token_rewards is None
    assert groups.parts["turns"].values.tolist() == [-1.5, 3.0]


def test_advantages_that_ask_see_them_apart() -> None:
    groups = shown(judged(two_turns(0, 0.5, -2.0, whole=1.0), two_turns(1, None, 3.0)), Looks().needs)
    assert groups.rewards.values.tolist() == [1.0, 0.0]
    assert groups.token_rewards is not None
    assert groups.token_rewards.values.tolist() == [0, 0.5, -2.0, 0, 0, 3.0]
    assert groups.token_rewards.lengths.tolist() == [3, 3]
    assert groups.steps is not None
    assert groups.steps.values.tolist() == [0, 0, 1, 0, 0, 1]


def test_a_reward_may_judge_steps() -> None:
    """The first answer has steps [5] [6 | 7]: its turns end after 6, so there are three of them."""

    def steps(completion_ids: list[list[int]], **_: Any) -> list[Any]:
        return [Steps(ends=(0, 2), rewards=(1.0, 4.0)), Steps(ends=(), rewards=())][: len(completion_ids)]

    first, second = judged(two_turns(0, 0.5, -2.0), two_turns(1, 1.0, 1.0), rewards=[Reward("prm", steps, 0.5)])
    assert first.earned["prm"].tolist() == [0, 1.0, 0, 0, 4.0]
    assert first.tokens["steps"].tolist() == [0, 0, 1, 0, 2]
    assert (first.rewards["prm"], second.rewards["prm"]) == (5.0, None)
    assert first.reward == 0.5 * 5.0 - 1.5
    groups = shown([first, second], Looks().needs, {"prm": 0.5})
    assert groups.rewards.values.tolist() == [0.0, 0.0]
    assert groups.token_rewards is not None
    assert groups.token_rewards.values[:3].tolist() == [0.5, 0.5, 0.0]  # half of 1; .5; half of 4 and -2


def test_steps_beyond_the_completion_are_refused() -> None:
    def steps(completion_ids: list[list[int]], **_: Any) -> list[Any]:
        return [Steps(ends=(3,), rewards=(1.0,))]

    with pytest.raises(RewardError, match="the reward 'prm' judges token 3 of a completion that has 3"):
        judged(two_turns(0, 1.0, 1.0), rewards=[Reward("prm", steps)])


@pytest.mark.parametrize(
    ("ends", "rewards"), [((1, 0), (1.0, 1.0)), ((1, 1), (1.0, 1.0)), ((0,), ()), ((0,), (float("nan"),)), ((-1,), (1.0,))]
)
def test_steps_that_are_none_are_refused(ends: tuple[int, ...], rewards: tuple[float, ...]) -> None:
    with pytest.raises(RewardError, match=r"steps end at rising places|finite"):
        Steps(ends=ends, rewards=rewards)


def test_only_what_the_policy_wrote_earns() -> None:
    with pytest.raises(ValueError, match="only what the policy wrote"):
        Span(ids=(1,), reward=1.0)
    with pytest.raises(ValueError, match="finite"):
        turn([1], float("nan"))
    with pytest.raises(ValueError, match="finite"):
        Episode(spans=(), reward=float("inf"))


def test_rewards_are_shown_the_conversation() -> None:
    seen: list[Any] = []

    def look(completions: list[Any], **_: Any) -> list[float]:
        seen.extend(completions)
        return [0.0 for _ in completions]

    judged(two_turns(0, 1.0, 1.0), rewards=[Reward("look", look)])
    assert seen == [list(SAID)]


def test_the_journal_keeps_all_of_it(tmp_path: Path) -> None:
    one = replace(judged(two_turns(0, 1 / 3, -0.1, whole=0.7))[0], outcome="truncated")
    journal = Journal(tmp_path)
    journal.append(0, [one])
    [read] = journal.read(0) or []
    assert (read.said, read.notes, read.rewards, read.reward) == (SAID, one.notes, one.rewards, one.reward)
    assert read.tokens.keys() == one.tokens.keys()
    assert all(np.array_equal(read.tokens[name], one.tokens[name]) for name in one.tokens)
    groups = [shown([each], Looks().needs) for each in (one, read)]
    assert all(torch.equal(groups[0].need(name).values, groups[1].need(name).values) for name in ("token_rewards", "rewards"))


def test_notes_are_logged() -> None:
    noted = replace(two_turns(1, 1.0, 1.0), notes={"tool_calls": 0.0, "board": 3.0})
    metrics = rollout_metrics(judged(two_turns(0, 1.0, 1.0), noted))
    assert metrics["tools/call_frequency"] == 1.0  # two calls and none
    assert metrics["tools/failure_frequency"] == 0.5  # one of the two
    assert metrics["environment/board"] == 1.5
    assert metrics["rewards/turns/mean"] == 2.0


def test_nothing_is_lost_where_nobody_plays_twice() -> None:
    one = Trajectory.of(Origin("main", 0, 0, 0, 0), Episode(spans=(Span(ids=(1,)), turn([5], None))), version=0)
    assert set(one.tokens) == {"behaviour"}
    assert shown(judged(replace(one, rewards={"environment": 1.0})), Looks().needs).need("steps").values.tolist() == [0.0]

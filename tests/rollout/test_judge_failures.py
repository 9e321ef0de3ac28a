"""Rewards that fail in a rollout: the run stops, or the completion is left out with the reason; what rewards log is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from played import prompt, trajectory

from burnish.errors import RewardError
from burnish.rollout.journal import Journal
from burnish.rollout.judge import NOTHING_APPLIES, Judge
from burnish.rollout.metrics import rollout_metrics
from burnish.rollout.rewards import Reward
from burnish.rollout.trajectory import Trajectory
from burnish.testing import tiny_tokenizer


def picky(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
    """Cannot bear a 9."""
    if any(9 in ids for ids in completion_ids):
        raise ValueError("a nine")
    return [float(len(ids)) for ids in completion_ids]


def judge(
    function: Callable[..., Any], *ids: list[int], on_error: Any = "drop", said: list[str] | None = None
) -> list[Trajectory]:
    asked = Judge(
        (Reward("mine", function),), tiny_tokenizer(chat=False), on_error, lambda: 3, ([] if said is None else said).append
    )
    members = [trajectory(0, member, one) for member, one in enumerate(ids)]
    return asked(members, [prompt(0).example] * len(members))


def test_the_run_stops_or_the_completion_is_left_out() -> None:
    with pytest.raises(RewardError, match="the reward 'mine' raised ValueError: a nine"):
        judge(picky, [4], [9], on_error="stop")
    said: list[str] = []
    good, bad, other = judge(picky, [4], [9], [5, 6], said=said)
    assert [one.outcome for one in (good, bad, other)] == ["ok", "reward_error", "ok"]
    assert (good.reward, other.reward) == (1.0, 2.0)
    assert not bad.is_trainable
    assert bad.error.startswith("Traceback (most recent call last)")
    assert "ValueError: a nine" in bad.error
    [sentence] = said
    assert sentence.startswith("the reward 'mine' raised ValueError: a nine")
    assert sentence.endswith("the completion is left out (reward_error)")
    assert rollout_metrics([good, bad, other])["outcomes/reward_error"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda **_: [1.0], "returned 1 values for 2 completions: [1.0]"),
        (lambda **_: [float("inf"), 1.0], "returned inf for row 0 of main"),
        (lambda **_: ["good", 1.0], "returned 'good' for row 0 of main"),
    ],
)
def test_what_is_no_answer_is_named(function: Callable[..., Any], error: str) -> None:
    with pytest.raises(RewardError, match="the reward 'mine' "):
        judge(function, [4], [5], on_error="stop")
    assert error in judge(function, [4], [5])[0].error


def test_where_nothing_applies_nothing_is_learnt_and_it_is_said() -> None:
    none = judge(lambda **_: [None, None], [4], [5])
    assert [(one.outcome, one.error) for one in none] == [("filtered", NOTHING_APPLIES)] * 2
    assert rollout_metrics(none)["outcomes/filtered"] == 1.0


def test_what_rewards_log_is_kept_with_the_completions(tmp_path: Path) -> None:
    def chatty(completion_ids: Sequence[Sequence[int]], **kwargs: Any) -> list[float]:
        kwargs["log_extra"]("first", [ids[0] for ids in completion_ids])
        kwargs["log_metric"]("share", 0.25)
        kwargs["log_metric"]("share", 0.75)
        return [float(kwargs["trainer_state"])] * len(completion_ids)

    done = judge(chatty, [4], [5])
    assert [one.reward for one in done] == [3.0, 3.0]
    failed = replace(done[1], outcome="reward_error", error="Traceback ...", rewards={})
    Journal(tmp_path).append(0, [done[0], failed])
    kept, lost = list(Journal(tmp_path).read(0) or [])
    assert (kept.columns, kept.logged, kept.error) == ({"first": 4}, {"share": 0.5}, "")
    assert (lost.columns, lost.error) == ({"first": 5}, "Traceback ...")
    assert rollout_metrics([kept, lost])["share"] == 0.5

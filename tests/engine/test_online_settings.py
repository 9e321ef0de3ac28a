"""What the section `rollout` says reaches whoever plays, draws and judges in a run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from policy import HERE, online
from runs import LORA, MakeConfig

import burnish
from burnish.config.sections import SamplingSection
from burnish.errors import RewardError, RunError
from burnish.objective import Ragged
from burnish.rollout.contract import Episode, Generate, Groups, Task
from burnish.rollout.journal import Journal
from burnish.rollout.local import LocalBackend
from burnish.rollout.sampler import Completion, HFSampler
from burnish.rollout.single_turn import SingleTurn
from burnish.rollout.trajectory import Trajectory

QUESTIONS = [{"prompt": f"q {number}: "} for number in range(12)]
SELF = Path(__file__)


def played(make_config: MakeConfig, batches: int = 1, lr: float = 0.01, **changes: Any) -> list[list[Trajectory]]:
    """The rollout batches of a run with one step each, of two prompts by four."""
    rollout = changes.pop("rollout")
    config = make_config(**online(**{"epochs": 1, **rollout}), **changes)
    config |= {"train": {"batch_size": 8, "steps": batches}, "optimizer": {"lr": lr}}
    result = burnish.train(config, data=QUESTIONS)
    journal = Journal(result.path / "rollouts")
    return [journal.read(number) or [] for number in journal.numbers()]


@pytest.mark.parametrize(
    ("rollout", "sizes"),
    [
        ({}, [2, 2, 1]),  # the rollout batch ends with the epoch
        ({"curriculum": {"rising": {"column": "level", "first": 9, "last": 9, "over": 1}}}, [2, 2, 2]),  # which has no end then
    ],
)
def test_five_prompts_by_two(make_config: MakeConfig, rollout: dict[str, Any], sizes: list[int]) -> None:
    config = make_config(**online(epochs=1, **rollout)) | {"train": {"batch_size": 8, "steps": 3}}
    result = burnish.train(config, data=[{**row, "level": 1} for row in QUESTIONS[:5]])
    batches = (Journal(result.path / "rollouts").read(number) or [] for number in range(3))
    assert [len({one.origin.group for one in batch}) for batch in batches] == sizes


class Waits:
    """Answers to every second row are waited for, for a minute. Notes how many are there at once."""

    judges = False
    inside: ClassVar[list[int]] = []

    async def __call__(self, task: Task, generate: Generate) -> Episode:
        self.inside.append(1)
        try:
            await asyncio.sleep(0.01 if int(str(task.prompt)[2:-2]) % 2 else 60)
            notes = {"inside": float(len(self.inside))}  # all that may come have come
            return replace(await SingleTurn()(task, generate), notes=notes)
        finally:
            self.inside.pop()


def test_episodes_have_their_time_and_so_many_play_at_once(make_config: MakeConfig) -> None:
    [batch] = played(make_config, rollout={"environment": f"{SELF}:Waits", "time_limit": 0.5, "episodes": 5, "prompts": 4})
    assert {one.outcome for one in batch if one.origin.row % 2 == 0} <= {"timeout"}
    assert {one.outcome for one in batch if one.origin.row % 2} <= {"ok", "truncated"}
    assert {one.origin.row % 2 for one in batch} == {0, 1}
    assert 1 < max(one.notes["inside"] for one in batch if one.origin.row % 2) <= 5


@pytest.mark.parametrize("oversample", [0, 1])
def test_the_cap_of_refills_is_kept_and_said(
    make_config: MakeConfig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, oversample: int
) -> None:
    """Two prompts and no more than two in their place, also where late groups are cut."""

    calls = iter(range(20))  # enough for two rollout batches

    def same(completions: list[str], **_: Any) -> list[float]:
        next(calls)
        return [1.0] * len(completions)

    monkeypatch.setattr("burnish.rollout.batches.EMPTY", 2)
    config = make_config(**online(rewards=[], epochs=1, filter=True, oversample=oversample, max_refills=1))
    with pytest.raises(RunError, match="its episodes ended as filtered"):
        burnish.train(config, data=QUESTIONS, rewards=[same])
    said = " ".join("".join(capsys.readouterr()).split())
    assert "rollout batch 0: of 4 prompts only 0 gave answers of different rewards" in said
    for number in range(2):
        batch = Journal(Path(config["output"]) / "rollouts").read(number) or []
        assert 4 <= len({one.origin.group for one in batch}) <= 4 + oversample


class Late:
    """Every second member asks when the others are being drawn already. Notes how many of those had their answers by then."""

    judges = False
    answered: ClassVar[list[int]] = []
    came: ClassVar[list[int]] = []

    async def __call__(self, task: Task, generate: Generate) -> Episode:
        self.came.append(1)
        late = len(self.came) % 2 == 0
        for _ in range(10 if late else 0):  # turns of the event loop, more than a batch waits before it begins
            await asyncio.sleep(0)
        notes = {"answered": float(len(self.answered))} if late else {}
        episode = replace(await SingleTurn()(task, generate), notes=notes)
        self.answered.append(1)
        return episode


def test_who_asks_while_others_are_drawn_is_not_kept_waiting(make_config: MakeConfig) -> None:
    """As in a conversation whose tool answers late: its limits of time go on running meanwhile."""
    sampling = {"max_new_tokens": 60, "temperature": 1.0}
    [batch] = played(make_config, rollout={"environment": f"{SELF}:Late", "sampling": sampling})
    assert max(one.notes["answered"] for one in batch if one.notes) < 4


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """The weights that an advantage is told of, as the advantage."""

    def __call__(self, groups: Groups) -> Ragged:
        told = 100 * groups.weights["small"] + groups.weights["begins_small"]
        return groups.rewards * 0.0 + told


def test_advantages_are_told_the_weights_of_rewards(make_config: MakeConfig) -> None:
    rewards = [{f"{HERE}:small": {"weight": 2.0}}, {f"{HERE}:begins_small": {"weight": -1.0}}]
    [batch] = played(make_config, rollout={"rewards": rewards, "advantage": f"{SELF}:Weighed"})
    for one in batch:
        assert one.reward == pytest.approx(2 * (one.rewards["small"] or 0) - (one.rewards["begins_small"] or 0))
        assert set(one.tokens["advantages"][one.own]) == {199.0}


def test_the_most_likely_completion_is_compared_with_and_not_trained_on(make_config: MakeConfig) -> None:
    """Of 4 members each has its reward minus one number of its group, that of a fifth, which is in no batch."""
    [batch] = played(make_config, rollout={"advantage": "remax"})
    assert sorted(one.origin.member for one in batch) == [0, 0, 1, 1, 2, 2, 3, 3]
    baselines: dict[int, set[float]] = {}
    for one in batch:
        advantage = float(one.tokens["advantages"][one.own][0])
        baselines.setdefault(one.origin.group, set()).add(round(one.reward - advantage, 5))
    assert [len(found) for found in baselines.values()] == [1, 1]
    six = {round(share / 6, 5) for share in range(7)}  # shares of at most six tokens below 40
    assert set().union(*baselines.values()) <= six | {round(a / b, 5) for b in range(1, 6) for a in range(b + 1)}
    assert set().union(*baselines.values()) != {0.0}


def test_opponents_are_drawn_from_the_reference_as_often_as_asked(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an adapter: once it has learnt something, the reference is the model without it."""
    asked: list[float | None] = []
    generate = LocalBackend.generate

    async def noted(self: LocalBackend, ids: Sequence[int], sampling: SamplingSection, seed: int = 0) -> Completion:
        asked.append(getattr(sampling, "mixture", None))
        return await generate(self, ids, sampling, seed)

    monkeypatch.setattr(LocalBackend, "generate", noted)
    rollout = {"advantage": "nash_md", "opponents": {"count": 3, "mixture": 1.0}}
    changes: dict[str, Any] = {"model": {"adapter": LORA}}
    config = make_config(**online(epochs=1, **rollout), **changes)
    config |= {"objective": [{"nash_md": {}}], "train": {"batch_size": 8, "steps": 3}, "optimizer": {"lr": 0.5}}
    result = burnish.train(config, data=QUESTIONS)
    assert [asked.count(None), asked.count(1.0)] == [3 * 2 * 4, 3 * 2 * 3]
    last = Journal(result.path / "rollouts").read(2) or []
    theirs = [one for one in last if one.is_opponent]
    assert len(theirs) == 6
    apart = [np.abs(one.tokens["behaviour"] - one.tokens["reference"])[one.own].max() for one in last if not one.is_opponent]
    assert max(apart) > 0.1
    for one in theirs:
        np.testing.assert_allclose(one.tokens["behaviour"][one.own], one.tokens["reference"][one.own], atol=1e-4)


@pytest.mark.parametrize("ending", ["before training", "beside training", "with an error"])
def test_a_backend_rests_after_each_rollout_batch_and_is_closed_at_the_end(
    make_config: MakeConfig, tmp_path: Path, ending: str
) -> None:
    """Beside training it never rests; no thread is left of that."""
    kept: list[Any] = []

    class Keeps:
        def run_started(self, run: Any) -> None:
            kept.append(run.batches)  # else a thread could end because nobody knows it

    def fails(**_: Any) -> list[float]:
        raise OSError("no more")

    notes, ahead = tmp_path / "notes", int(ending == "beside training")
    noted = {f"{HERE.with_name('copied.py')}:Noted": {"model": make_config()["model"]["name"], "notes": str(notes)}}
    config = make_config(**online(epochs=1, backend=noted, max_staleness=ahead, receipts={"handshake": False}))
    config["train"] = {"batch_size": 8, "steps": 2}
    if ending == "with an error":
        with pytest.raises(RewardError):
            burnish.train(config, data=QUESTIONS, rewards=[fails])
    else:
        burnish.train(config, data=QUESTIONS, observers=[Keeps()])
    assert not any(thread.name.startswith("burnish") for thread in threading.enumerate())
    words = [word for word, _ in groupby(notes.read_text().split())]
    if ending == "beside training":
        assert "rest" not in words
        assert [words.count("close"), words[-1]] == [1, "close"]
    elif ending == "with an error":
        assert words == ["update", "generate", "close"]
    else:
        assert words == [*["update", "generate", "rest"] * 2, "close"]


def test_the_model_draws_in_the_precision_and_with_the_seed_of_training(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    within, generate = [], HFSampler.generate

    def noted(self: HFSampler, *given: Any) -> list[Completion]:
        within.append(torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu"))
        return generate(self, *given)

    class Looks:
        def run_started(self, run: Any) -> None:
            assert run.batches.seed == 5  # of the order in which completions are trained on

    monkeypatch.setattr(HFSampler, "generate", noted)
    config = make_config(**online(epochs=1)) | {"train": {"batch_size": 8, "steps": 1, "precision": "bf16", "seed": 5}}
    burnish.train(config, data=QUESTIONS, observers=[Looks()])
    assert within == [torch.bfloat16]


def test_an_advantage_that_reads_values_has_them_though_nothing_else_does(make_config: MakeConfig) -> None:
    """One step a rollout batch: no loss needs to know what the critic said before."""
    changes: dict[str, Any] = {"objective": [{"grpo": {}}, {"value": {}}]}
    config = make_config(**online(epochs=1, advantage="gae") | changes) | {"train": {"batch_size": 8, "steps": 1}}
    result = burnish.train(config, data=QUESTIONS)
    assert all("old_value" in one.tokens for one in Journal(result.path / "rollouts").read(0) or ())


def test_one_pass_of_two_steps_needs_old(make_config: MakeConfig) -> None:
    config = make_config(**online(epochs=1)) | {"train": {"batch_size": 4, "steps": 2}}
    result = burnish.train(config, data=QUESTIONS)
    assert all("old" in one.tokens for one in Journal(result.path / "rollouts").read(0) or ())

"""Online runs: they learn, train on exactly what their journal holds, and refuse what cannot work before a weight is read."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from policy import HERE, online
from runs import MakeConfig, assert_same, ledger, weights, write_rows
from typer.testing import CliRunner

import burnish
from burnish.cli.main import app
from burnish.data.units import Unit
from burnish.engine.step import StepRunner
from burnish.errors import BurnishError, ConfigError, RewardError, RunError
from burnish.registry import load
from burnish.rollout.buffer import Replay
from burnish.rollout.journal import Journal
from burnish.rollout.local import LocalBackend
from burnish.rollout.trajectory import by_group
from burnish.testing import tiny_model, tiny_tokenizer

QUESTIONS = [{"prompt": f"q {number}: "} for number in range(12)]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[list[Unit]]:
    """The units of every optimiser step that is made from here on."""
    batches: list[list[Unit]] = []
    run = StepRunner.run

    def keep(self: StepRunner, units: Sequence[Unit], *arguments: Any, **options: Any) -> Any:
        if options.get("train", True):
            batches.append(list(units))
        return run(self, units, *arguments, **options)

    monkeypatch.setattr(StepRunner, "run", keep)
    return batches


def test_the_reward_rises(make_config: MakeConfig) -> None:
    config = make_config(**online(prompts=4, group_size=8, epochs=1))
    sampling = config["rollout"]["sampling"]  # what lies beyond the length that is trained says nothing
    config |= {"train": {"batch_size": 32, "steps": 60}, "evaluate": {"at_start": True, "sampling": sampling}}
    config["data"]["main"] = {"source": "given", "holdout": 0.5}
    questions = [{"prompt": f"q {number}: "} for number in range(60)]
    model = tiny_model(initializer_range=0.1)
    result = burnish.train(config, data=questions, model=model, tokenizer=tiny_tokenizer(chat=False))
    assert result.evaluation["eval/reward"] > result.before["eval/reward"] + 0.2


def test_what_is_trained_on_is_what_the_journal_holds(make_config: MakeConfig, trained: list[list[Unit]]) -> None:
    config = make_config(**online())
    burnish.train(config, data=QUESTIONS)
    journal = Journal(Path(config["output"]) / "rollouts")
    assert journal.numbers() == [0, 1, 2]  # nine steps, four to a rollout batch
    held = [sorted(one.unit().id for one in journal.read(number) or ()) for number in journal.numbers()]
    passes = [sorted(unit.id for batch in trained[at : at + 2] for unit in batch) for at in (0, 2, 4, 6)]
    assert passes == [held[0], held[0], held[1], held[1]]
    assert {unit.id for unit in trained[8]} < set(held[2])


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_old_is_the_policy_that_drew_the_tokens(make_config: MakeConfig, temperature: float) -> None:
    """In float32 the trainer's log-probabilities of a rollout are the sampler's, while the weights have not moved."""
    config = make_config(**online(sampling={"max_new_tokens": 6, "temperature": temperature}))
    burnish.train(config, data=QUESTIONS)
    for one in Journal(Path(config["output"]) / "rollouts").read(1) or ():
        np.testing.assert_allclose(one.tokens["old"][one.own], one.tokens["behaviour"][one.own], atol=1e-4)
        assert set(one.versions[one.own]) == {4}


def test_one_step_a_rollout_needs_no_old(make_config: MakeConfig) -> None:
    config = make_config(**online(epochs=1))
    config["train"] = {"batch_size": 8, "steps": 2}
    burnish.train(config, data=QUESTIONS)
    for one in Journal(Path(config["output"]) / "rollouts").read(0) or ():
        assert "old" not in one.tokens


def test_a_critic_learns_beside_the_policy(make_config: MakeConfig) -> None:
    """PPO: advantages from values before the update, a value loss on the returns that they give."""
    config = make_config(**online(advantage="gae"))
    config["objective"] = [{"grpo": {}}, {"value": {"weight": 0.1}}]
    burnish.train(config, data=QUESTIONS)
    lines = ledger(Path(config["output"]))
    assert all(np.isfinite(line["loss/value"]) for line in lines)
    first, later = (Journal(Path(config["output"]) / "rollouts").read(number) or () for number in (0, 2))
    assert all(not one.tokens["old_value"].any() for one in first)  # the head begins at 0
    assert any(one.tokens["old_value"].any() for one in later)
    for one in later:  # lambda .95, gamma 1: a return is the value plus the advantage before whitening
        assert np.isfinite(one.tokens["returns"]).all()
        assert set(np.flatnonzero(one.tokens["advantages"])) <= set(np.flatnonzero(one.own))


def test_metrics_and_steps(make_config: MakeConfig) -> None:
    config = make_config(**online(epochs=1))
    config["train"] = {"batch_size": 4, "epochs": 1.0}
    burnish.train(config, data=QUESTIONS)
    lines = ledger(Path(config["output"]))
    assert [line["step"] for line in lines] == list(range(1, 13))  # 12 prompts by 2, 8 completions by 4
    assert ["reward" in line for line in lines] == [True, False] * 6
    assert lines[-1]["epoch"] == 1.0
    assert {"rewards/small/mean", "frac_reward_zero_std", "completions/mean_length"} <= lines[0].keys()


def test_groups_without_signal_are_replaced_until_enough_have_one(make_config: MakeConfig, trained: list[list[Unit]]) -> None:
    config = make_config(**online(filter=True, max_refills=20, epochs=1, rewards=[f"{HERE}:begins_small"]))
    config["train"] = {"batch_size": 8, "steps": 3}
    burnish.train(config, data=QUESTIONS)
    journal = Journal(Path(config["output"]) / "rollouts")
    every = by_group(one for number in journal.numbers() for one in journal.read(number) or ())
    assert [one[0].origin.group for one in every] == list(range(len(every)))  # no prompt skipped, none twice
    assert len(every) > 6
    assert all(len({one.reward for one in members}) == (1 if members[0].outcome == "filtered" else 2) for members in every)
    assert [len(batch) for batch in trained] == [8, 8, 8]


def test_the_cap_of_refills_is_said_and_what_there_is_is_trained_on(
    make_config: MakeConfig, trained: list[list[Unit]], capsys: pytest.CaptureFixture[str]
) -> None:
    def mostly(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
        return [float(place if not calls else 0) for calls in [next(called)] for place in range(len(completion_ids))]

    called = iter([1, 0, *[1] * 99])  # of the four calls for the first rollout batch the second gives a signal
    config = make_config(**online(filter=True, prompts=1, max_refills=3, epochs=1, rewards=[]))
    config["train"] = {"batch_size": 4, "steps": 1}
    burnish.train(config, data=QUESTIONS, rewards=[mostly])
    assert [len(batch) for batch in trained] == [4]
    config |= {"output": config["output"] + "2"}
    called = iter([1] * 99)
    with pytest.raises(RunError, match="its episodes ended as filtered; so did"):
        burnish.train(config, data=QUESTIONS, rewards=[mostly])
    said = " ".join("".join(capsys.readouterr()).split())
    assert "of 4 prompts only 0 gave answers of different rewards, and no more are asked for" in said


def test_a_plugin_backend_gets_the_weights_of_every_version(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(**online(epochs=1, backend=f"{HERE.with_name('copied.py')}:Copied"))
    config["train"] = {"batch_size": 8, "steps": 3}
    config["rollout"]["backend"] = {f"{HERE.with_name('copied.py')}:Copied": {"model": config["model"]["name"]}}
    burnish.train(config, data=QUESTIONS)
    other = make_config(**online(epochs=1)) | {"train": config["train"], "output": str(tmp_path / "other")}
    burnish.train(other, data=QUESTIONS)
    ours, theirs = weights(Path(config["output"])), weights(tmp_path / "other")
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in ours)


def test_a_backend_that_holds_other_weights_ends_the_run(make_config: MakeConfig) -> None:
    config = make_config(**online())
    config["rollout"]["backend"] = {f"{HERE.with_name('copied.py')}:Forgetful": {"model": config["model"]["name"]}}
    with pytest.raises(BurnishError, match="the backend does not hold the weights of step 0"):
        burnish.train(config, data=QUESTIONS)


def overlapped(config: dict[str, Any], **rollout: Any) -> dict[str, Any]:
    """The config of a run that draws with a copy of the model while it trains: two prompts by four to a batch of one step."""
    backend = {f"{HERE.with_name('copied.py')}:Copied": {"model": config["model"]["name"]}}
    config["rollout"] |= {"epochs": 1, "backend": backend, "max_staleness": 1, **rollout}
    config["train"] = {"batch_size": 8, "steps": 6}
    return config


def test_training_overlaps_with_drawing_and_no_token_is_older_than_allowed(
    make_config: MakeConfig, trained: list[list[Unit]]
) -> None:
    config = overlapped(make_config(**online()))
    burnish.train(config, data=QUESTIONS)
    journal = Journal(Path(config["output"]) / "rollouts")
    ages = [
        set((number - one.versions[one.own]).tolist()) for number in journal.numbers() for one in journal.read(number) or ()
    ]
    assert set().union(*ages) == {0, 1}
    lines = ledger(Path(config["output"]))
    assert {line["sampling/staleness/max"] for line in lines} <= {0.0, 1.0}
    assert {"sampling/queue", "sampling/idle_s/trainer", "sampling/idle_s/backend", "sampling/groups/stale"} <= lines[-1].keys()
    held = [sorted(one.unit().id for one in journal.read(number) or ()) for number in journal.numbers()]
    assert [sorted(unit.id for unit in batch) for batch in trained] == held
    groups = [group for number in journal.numbers() for group in {one.origin.group for one in journal.read(number) or ()}]
    assert sorted(groups) == list(range(12))
    assert not any(thread.name.startswith("burnish") for thread in threading.enumerate())


def test_old_of_a_stale_token_is_what_the_sampler_said(make_config: MakeConfig) -> None:
    config = overlapped(make_config(**online()))
    burnish.train(config, data=QUESTIONS)
    journal = Journal(Path(config["output"]) / "rollouts")
    seen = set()
    for number in journal.numbers():
        for one in journal.read(number) or ():
            stale = one.own & (one.versions < number)
            assert np.array_equal(one.tokens["old"][stale], one.tokens["behaviour"][stale])
            np.testing.assert_allclose(one.tokens["old"][one.own], one.tokens["behaviour"][one.own], atol=1e-4)
            seen |= set(stale[one.own].tolist())
    assert True in seen


def test_of_more_prompts_those_that_finish_first_are_trained_on(make_config: MakeConfig, tmp_path: Path) -> None:
    """Over-sampling in process is as much a function of the seed as all else."""
    config = make_config(**online(prompts=2, oversample=2, epochs=1, sampling={"max_new_tokens": 24, "stop": ["a", "e", "q"]}))
    config["train"] = {"batch_size": 8, "steps": 4}
    burnish.train(config, data=QUESTIONS)
    burnish.train(config | {"output": str(tmp_path / "again")}, data=QUESTIONS)
    assert ledger(Path(config["output"])) == ledger(tmp_path / "again")
    journal = Journal(Path(config["output"]) / "rollouts")
    groups = [sorted({one.origin.group for one in journal.read(number) or ()}) for number in journal.numbers()]
    assert [len(each) for each in groups] == [2, 2, 2, 2]
    every = [group for each in groups for group in each]
    assert len(set(every)) == 8
    assert every != list(range(8))  # somebody was late
    assert all(set(one.versions[one.own]) == {number} for number in journal.numbers() for one in journal.read(number) or ())
    assert sum(line["sampling/groups/cut"] for line in ledger(Path(config["output"]))) == 8


def test_a_curriculum_lets_hard_prompts_wait(make_config: MakeConfig) -> None:
    """Rows 0 to 11 with their number as the difficulty; from 3 to 11 over eight prompts."""
    rising = {"rising": {"column": "level", "first": 3.0, "last": 11.0, "over": 8}}
    config = make_config(**online(epochs=1, curriculum=rising))
    config["train"] = {"batch_size": 8, "steps": 6}
    burnish.train(config, data=[{**row, "level": level} for level, row in enumerate(QUESTIONS)])
    journal = Journal(Path(config["output"]) / "rollouts")
    rows = [sorted({one.origin.row for one in journal.read(number) or ()}) for number in journal.numbers()]
    assert all(max(pair) <= 3 + 2 * number for number, pair in enumerate(rows[:4]))
    assert sorted(row for pair in rows for row in pair) == list(range(12))


def test_a_journal_trains_another_run_to_the_same_weights(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(**online())
    write_rows(Path(config["data"]["main"]["source"]), QUESTIONS)
    burnish.train(config)
    again, other = tmp_path / "again", tmp_path / "other"
    result = CliRunner().invoke(app, ["rollouts", "replay", config["output"], str(again)], catch_exceptions=False)
    assert result.exit_code == 0
    assert_same(weights(Path(config["output"])), weights(again))
    CliRunner().invoke(app, ["rollouts", "replay", config["output"], str(other), "optimizer.lr=0.02"], catch_exceptions=False)
    assert [path.name for path in sorted((other / "rollouts").iterdir())] == [
        path.name for path in sorted((again / "rollouts").iterdir())
    ]
    assert not all(torch.equal(one, two) for one, two in zip(weights(again).values(), weights(other).values(), strict=True))


def test_a_replay_buffer_is_a_source_beside_new_rollouts(make_config: MakeConfig, tmp_path: Path, trained: Any) -> None:
    config = make_config(**online())
    burnish.train(config, data=QUESTIONS)
    buffer = {"run": config["output"], "newest": 2, "min_reward": 0.1, "signal": True}
    held = list(Replay(**buffer))
    assert held
    assert all(row["reward"] >= 0.1 and row["old_logps"] for row in held)
    both = make_config(**online(epochs=1)) | {"output": str(tmp_path / "both"), "train": {"batch_size": 8, "steps": 2}}
    both["data"]["main"]["weight"] = 2.0
    both["data"]["buffer"] = {"source": "replay", "options": buffer, "weight": 1.0}
    [[loss, options]] = both["objective"][0].items()
    both["objective"] = [{loss: options}, {loss: {"source": "buffer", "weight": 0.5, "name": "replayed"}}]
    trained.clear()
    burnish.train(both, data={"main": QUESTIONS})
    assert [sum(unit.source == "buffer" for unit in batch) for batch in trained] == [4, 4]
    assert all("loss/replayed" in line for line in ledger(tmp_path / "both"))


def test_a_loss_may_compare_with_the_likeliest_tokens_of_the_sampler(make_config: MakeConfig, tmp_path: Path) -> None:
    """They are asked for, journaled, and those of the policy itself while it has not moved; a journal with them trains another
    run to the same weights, and is a buffer for others."""
    config = make_config(**online())
    loss: dict[str, Any] = {"divergence": "topk_tv", "top_k": 4, "threshold": 1e-3}
    config |= {"objective": [{"dppo": loss}], "train": {"batch_size": 4, "steps": 5}}
    write_rows(Path(config["data"]["main"]["source"]), QUESTIONS)
    burnish.train(config)
    masked = [line["mask_ratio/overall_mean"] for line in ledger(Path(config["output"]))]
    assert masked[0] == 0
    assert 0 < max(masked) < 1
    drawn = [one for number in (0, 1) for one in Journal(Path(config["output"]) / "rollouts").read(number) or ()]
    for one in drawn:
        ids, logps = one.tokens["likeliest_ids"], one.tokens["likeliest_logps"]
        assert ids.shape == logps.shape == (len(one.ids), 4)
        assert (ids[~one.own] == -1).all()
        assert (np.diff(logps[one.own]) <= 0).all()
        places = np.flatnonzero(one.own & (ids[:, 0] == one.ids))
        np.testing.assert_array_equal(logps[places, 0], one.tokens["behaviour"][places])
    again, other = tmp_path / "again", str(tmp_path / "other")
    CliRunner().invoke(app, ["rollouts", "replay", config["output"], str(again)], catch_exceptions=False)
    assert_same(weights(Path(config["output"])), weights(again))
    both = make_config(**online(epochs=1)) | {"output": other, "train": {"batch_size": 8, "steps": 1}}
    both["data"]["buffer"] = {"source": "replay", "options": {"run": config["output"]}}
    both["objective"] += [{"dppo": {**loss, "top_k": 3, "source": "buffer"}}]
    burnish.train(both, data={"main": QUESTIONS})
    assert "loss/dppo" in ledger(Path(other))[0]
    assert all("likeliest_ids" not in one.tokens for one in Journal(Path(other) / "rollouts").read(0) or ())


def test_a_backend_that_does_not_report_them_is_refused(make_config: MakeConfig) -> None:
    config = make_config(**online())
    config["objective"] = [{"dppo": {"divergence": "topk_kl"}}]
    config["rollout"]["backend"] = {f"{HERE.with_name('copied.py')}:Copied": {"model": config["model"]["name"]}}
    with pytest.raises(ConfigError, match=r"objective\.0: dppo compares with the 20 likeliest tokens of the sampler, which"):
        burnish.train(config, data=QUESTIONS)


def test_evaluation_rollouts_do_not_disturb_training(make_config: MakeConfig, tmp_path: Path) -> None:
    """The same trajectories and weights with an evaluation before every step as with none."""
    config = make_config(**online(epochs=1))
    config["data"]["main"] = {"source": "given", "holdout": 0.25}
    config["train"] = {"batch_size": 8, "steps": 3}
    often = {"every": 1, "at_start": True, "sampling": {"temperature": 1.0, "max_new_tokens": 4}}
    burnish.train(config | {"evaluate": often}, data=QUESTIONS)
    burnish.train(config | {"evaluate": {"at_end": False}, "output": str(tmp_path / "other")}, data=QUESTIONS)
    names = [sorted(path.name for path in (folder / "rollouts").iterdir()) for folder in (tmp_path / "run", tmp_path / "other")]
    assert names[0] == names[1]  # a journal's names carry the hashes of what it holds
    assert_same(weights(tmp_path / "run"), weights(tmp_path / "other"))


def refusals() -> Iterator[Any]:
    """Sections `rollout` that cannot work, and what is said of them."""
    yield pytest.param({"rewards": []}, "nothing judges the completions", id="no reward")
    yield pytest.param({"sources": ["mian"]}, "no data source 'mian'", id="no such source")
    yield pytest.param({"advantage": "no_such"}, "no advantage named 'no_such'", id="no such advantage")
    yield pytest.param({"backend": {"hf": {"rows": 3}}}, "unknown key. Did you mean 'max_rows'", id="no such option")
    yield pytest.param({"advantage": "gae"}, "rollout.advantage: 'gae' reads values, and no part", id="nothing learns values")
    yield pytest.param({"advantage": {"a": {}, "b": {}}}, "one name with its options", id="two advantages")
    yield pytest.param({"filter": True, "group_size": 1}, "`group_size` must be more than 1", id="nothing to compare")
    yield pytest.param({"max_staleness": 4}, "the backend 'hf' draws from the very weights", id="live and ahead")
    yield pytest.param({"sampling": {"temperature": 0.0}}, "sampling.temperature: should be greater than 0", id="greedy")
    yield pytest.param({"sampling": {"max_new_tokens": 4096}}, "leave the model's 512 positions", id="context")


@pytest.mark.parametrize(("rollout", "said"), [*refusals()])
def test_what_cannot_work_is_refused(make_config: MakeConfig, rollout: dict[str, Any], said: str) -> None:
    with pytest.raises(BurnishError, match=said):
        burnish.train(make_config(**online(**rollout)), data=QUESTIONS)


def test_too_little_staleness_to_draw_anything_ahead_is_refused(make_config: MakeConfig) -> None:
    config = overlapped(make_config(**online()), epochs=2, max_staleness=1)
    with pytest.raises(ConfigError, match="trained on for 2 steps, so what is drawn meanwhile is 2 versions old"):
        burnish.train(config, data=QUESTIONS)


def test_texts_have_no_prompt(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match="'main' holds text rows, which have no prompt"):
        burnish.train(make_config(**online()), data=[{"text": "once upon a time"}] * 4)


def test_a_reward_that_raises_says_which_and_leaves_a_checkpoint(make_config: MakeConfig) -> None:
    calls = iter(range(100))

    def tired(completions: list[str], **_: Any) -> list[float]:
        if next(calls) == 1:
            raise OSError("no more")
        return [float(len(text)) for text in completions]

    config = make_config(**online(rewards=[]))
    with pytest.raises(RewardError, match="the reward 'tired' raised OSError: no more"):
        burnish.train(config, data=QUESTIONS, rewards=[tired])
    assert (Path(config["output"]) / "checkpoints/step-000004/manifest.json").is_file()


def test_the_backend_is_found_by_name() -> None:
    from burnish.registry import BackendRecord

    assert load().find(BackendRecord, "hf") is LocalBackend


CUT = {"max_new_tokens": 6, "temperature": 0.8, "top_k": 50}


@pytest.mark.parametrize("drawn", [{"epochs": 1}, {"epochs": 1, "sampling": CUT}])
def test_the_divergence_from_the_reference_is_taken_out_of_the_reward(make_config: MakeConfig, drawn: dict[str, Any]) -> None:
    """The loss reads no reference, the reward does; where the sampler's distribution is cut, the policy itself is scored."""
    config = make_config(**online(**drawn, kl_in_reward={"beta": 0.5}))
    config["train"] = {"batch_size": 8, "steps": 3}
    burnish.train(config, data=QUESTIONS)
    first, last = (Journal(Path(config["output"]) / "rollouts").read(number) or () for number in (0, 2))
    for one in first:  # the policy is its own reference still
        np.testing.assert_allclose(one.earned["kl_in_reward"], 0, atol=1e-4)
        assert ("old" in one.tokens) == ("top_k" in drawn.get("sampling", {}))
    for one in last:
        policy = one.tokens.get("old", one.tokens["behaviour"])
        lost = 0.5 * np.where(one.own, policy - one.tokens["reference"], 0)
        np.testing.assert_allclose(one.earned["kl_in_reward"], -lost, atol=1e-6)
        assert one.reward == pytest.approx((one.rewards["small"] or 0) - lost.sum(), abs=1e-5)
    assert max(abs(one.rewards["kl_in_reward"] or 0) for one in last) > 1e-3


def test_a_reward_that_compares_with_no_reference_is_refused(make_config: MakeConfig) -> None:
    config = make_config(**online(kl_in_reward={}), reference={"model": "none"})
    with pytest.raises(ConfigError, match=r"rollout\.kl_in_reward: the reward compares with a reference"):
        burnish.train(config, data=QUESTIONS)

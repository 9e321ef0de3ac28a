"""Rewards in whole online runs: what fails, what is kept, and several losses and sources in one run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from policy import HERE, online
from runs import MakeConfig, ledger, write_rows

import burnish
from burnish.data.units import Unit
from burnish.engine.manifest import verify_folder
from burnish.engine.step import StepRunner
from burnish.errors import ConfigError, RewardError, RunError
from burnish.rollout.journal import Journal

QUESTIONS = [{"prompt": f"q {number}: "} for number in range(12)]


def run_of(make_config: MakeConfig, steps: int = 2, **rollout: Any) -> dict[str, Any]:
    config = make_config(**online(epochs=1, **rollout))
    config["train"] = {"batch_size": 8, "steps": steps}
    return config


def journal(config: dict[str, Any]) -> Journal:
    return Journal(Path(config["output"]) / "rollouts")


def picky(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
    if any(ids[0] % 2 for ids in completion_ids):
        raise ValueError("an odd one")
    return [float(len(set(ids))) for ids in completion_ids]


def test_the_run_goes_on_without_completions_whose_reward_fails(make_config: MakeConfig) -> None:
    config = run_of(make_config, rewards=[], on_reward_error="drop")
    burnish.train(config, data=QUESTIONS, rewards=[picky])
    lines = ledger(Path(config["output"]))
    assert len(lines) == 2
    assert 0 < lines[0]["outcomes/reward_error"] < 1
    assert lines[0]["outcomes/failed"] == lines[0]["outcomes/reward_error"]
    for one in journal(config).read(0) or ():
        odd = one.ids[one.own][0] % 2 == 1
        assert (one.outcome == "reward_error") == odd
        assert ("ValueError: an odd one" in one.error) == odd


def test_a_reward_that_hangs_ends_the_run_with_a_valid_checkpoint(make_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text(
        "import time\n\nCALLS = []\n\n\ndef hangs(completions, **_):\n    CALLS.append(1)\n"
        "    time.sleep(60 if len(CALLS) > 1 else 0)\n    return [float(len(one)) for one in completions]\n"
    )
    config = run_of(make_config, rewards=[{f"{tmp_path / 'hangs.py'}:hangs": {"time_limit": 3.0}}])
    with pytest.raises(RewardError, match=r"the reward 'hangs' took longer than its time limit of 3 s for 8 completions"):
        burnish.train(config, data=QUESTIONS)
    verify_folder(Path(config["output"]) / "checkpoints/step-000001")


def test_where_no_reward_ever_applies_the_run_ends_and_says_so(make_config: MakeConfig) -> None:
    config = run_of(make_config, rewards=[])
    with pytest.raises(RunError, match="every reward gave None for every completion"):
        burnish.train(config, data=QUESTIONS, rewards=[lambda completions, **_: [None] * len(completions)])


def test_one_completion_a_prompt_cannot_be_compared(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match="1 completion of each prompt, but the advantage"):
        burnish.train(run_of(make_config, group_size=1), data=QUESTIONS)


def test_completions_that_were_all_cut_are_trained_on_and_counted(make_config: MakeConfig) -> None:
    config = run_of(make_config, sampling={"max_new_tokens": 1, "temperature": 1.0})
    burnish.train(config, data=QUESTIONS)
    assert any(line["completions/clipped_ratio"] > 0.8 for line in ledger(Path(config["output"])))


def test_what_trl_gives_rewards_and_what_they_log(make_config: MakeConfig) -> None:
    steps: list[int] = []

    def chatty(completions: list[str], trainer_state: Any, log_extra: Any, log_metric: Any, **_: Any) -> list[float]:
        steps.append(trainer_state.global_step)
        assert trainer_state.max_steps == 2
        log_extra("length", [len(text) for text in completions])
        log_metric("longest", max(map(len, completions)))
        return [float(len(text)) for text in completions]

    config = run_of(make_config, rewards=[], samples={"keep": True, "show": 1})
    burnish.train(config, data=QUESTIONS, rewards=[chatty])
    assert steps == [0, 1]
    first, _ = ledger(Path(config["output"]))
    rows = pq.read_table(Path(config["output"]) / "samples/000000.parquet").to_pylist()
    assert first["longest"] == max(row["length"] for row in rows)
    assert (
        [row["rewards/chatty"] for row in rows] == [row["length"] for row in rows] == [len(row["completion"]) for row in rows]
    )


def test_grpo_kl_and_sft_on_a_second_source_in_one_run(make_config: MakeConfig, tmp_path: Path) -> None:
    answers = write_rows(tmp_path / "answers.jsonl", [{"prompt": "2 + 2 =", "completion": " 4"}] * 4)
    config = run_of(make_config, prompts=2)
    config["data"] = {
        "main": {"source": write_rows(tmp_path / "questions.jsonl", QUESTIONS)},
        "answers": {"source": answers, "weight": 0.5},
    }
    config["objective"] = [{"grpo": {}}, {"kl": {"weight": 0.1}}, {"sft": {"source": "answers", "weight": 0.5}}]
    burnish.train(config)
    first, second = ledger(Path(config["output"]))
    assert {"loss/grpo", "loss/kl", "loss/sft", "kl", "reward"} <= first.keys()
    assert first["loss/kl"] == pytest.approx(0.0, abs=1e-6)  # the policy is the reference still
    assert second["loss/kl"] > 0
    weighted = second["loss/grpo"] + 0.1 * second["loss/kl"] + 0.5 * second["loss/sft"]
    assert second["loss"] == pytest.approx(weighted, rel=1e-5, abs=1e-6)
    assert second["loss/sft"] < first["loss/sft"]


def test_sources_are_played_by_weight_and_their_rewards_told_apart(make_config: MakeConfig, tmp_path: Path) -> None:
    config = run_of(make_config, prompts=4, sources=["main", "more"])
    rows = [{"prompt": f"more {number}: "} for number in range(12)]
    config["data"] = {
        "main": {"source": write_rows(tmp_path / "questions.jsonl", QUESTIONS), "weight": 3.0},
        "more": {"source": write_rows(tmp_path / "more.jsonl", rows)},
    }
    config["objective"] = [{"grpo": {}}, {"grpo": {"source": "more"}}]
    config["train"]["batch_size"] = 16
    burnish.train(config)
    [first, _] = ledger(Path(config["output"]))
    groups = [{one.origin.group: one.origin.source for one in journal(config).read(number) or ()} for number in (0, 1)]
    assert [sorted(found.values()) for found in groups] == [["main", "main", "main", "more"]] * 2
    apart = [first[f"sources/{name}/reward"] for name in ("main", "more")]
    assert first["reward"] == pytest.approx((3 * apart[0] + apart[1]) / 4)


@pytest.mark.parametrize("loss", ["dpo", "ipo", "simpo"])
def test_pairs_of_a_group_train_any_loss_on_preferences(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    seen: list[list[Unit]] = []
    run = StepRunner.run

    def keep(self: StepRunner, units: Sequence[Unit], *arguments: Any, **options: Any) -> Any:
        seen.append(list(units))
        return run(self, units, *arguments, **options)

    monkeypatch.setattr(StepRunner, "run", keep)
    config = run_of(make_config, pairs="all")
    config |= {"objective": [{loss: {}}], "train": {"batch_size": 12, "steps": 1}}
    burnish.train(config, data=QUESTIONS)
    [line] = ledger(Path(config["output"]))
    assert line["grad_norm"] > 0
    [units] = seen
    assert {unit.kind for unit in units} == {"preference"}
    known = {one.ids.tobytes(): one.reward for one in journal(config).read(0) or ()}
    for unit in units:
        better, worse = (known[unit.sequence(role).ids.tobytes()] for role in ("chosen", "rejected"))
        assert better > worse


def test_pairs_need_a_loss_on_preferences_and_one_that_needs_them_says_so(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="needs trajectory"):
        burnish.train(run_of(make_config, pairs="best_worst") | {"objective": [{"grpo": {}}]}, data=QUESTIONS)
    with pytest.raises(ConfigError, match="`pairs: opponents` needs them"):
        burnish.train(run_of(make_config, pairs="opponents"), data=QUESTIONS)
    copied = {f"{HERE.with_name('copied.py')}:Copied": {"model": run_of(make_config)["model"]["name"]}}
    with pytest.raises(ConfigError, match="this backend cannot draw from a mixture"):
        burnish.train(run_of(make_config, opponents={}, backend=copied), data=QUESTIONS)
    with pytest.raises(ConfigError, match="drawn with the reference, which no part of the objective reads"):
        burnish.train(run_of(make_config, opponents={}) | {"objective": online()["objective"]}, data=QUESTIONS)
    monkeypatch.setattr("burnish.engine.online.Rollouts._as_one", True)
    with pytest.raises(ConfigError, match="a model whose layers are sharded cannot draw beside its reference"):
        burnish.train(run_of(make_config, opponents={}), data=QUESTIONS)


def test_a_sampler_that_disagrees_ends_the_run_before_the_update(make_config: MakeConfig) -> None:
    """By half a nat from the second batch on."""
    config = run_of(make_config, mismatch={"stop": 0.4}, environment={f"{HERE}:Lying": {"honest": 8}})
    config["objective"] = [{"grpo": {}}]
    with pytest.raises(RunError, match=r"step 2: trainer and sampler differ by 0\.5 nats a token on average"):
        burnish.train(config, data=QUESTIONS)
    verify_folder(Path(config["output"]) / "checkpoints/step-000001")


def test_a_sampler_that_disagrees_is_corrected_from_a_level_on(make_config: MakeConfig, tmp_path: Path) -> None:
    """Every token by half a nat: all terms, and with them the gradient, are e^.5 times as large, and stay below that level."""
    norms = []
    for level in (0.6, 0.4):
        config = run_of(make_config, steps=1, mismatch={"correct": level}, environment=f"{HERE}:Lying")
        config |= {"objective": [{"grpo": {}}], "output": str(tmp_path / f"{level}")}
        burnish.train(config, data=QUESTIONS)
        [line] = ledger(tmp_path / f"{level}")
        assert line["sampling/sampling_logp_difference/mean"] == pytest.approx(0.5, abs=1e-4)
        norms.append(line["grad_norm"])
    assert norms[1] == pytest.approx(math.exp(0.5) * norms[0], rel=1e-4)


def test_an_alarm_is_said_and_written_down(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("burnish.engine.alarms.WINDOW", 2)
    config = run_of(make_config, rewards=[])
    burnish.train(config, data=QUESTIONS, rewards=[lambda completions, **_: [1.0] * len(completions)])
    first, second = ledger(Path(config["output"]))
    assert "alarms" not in first
    [alarm] = [one for one in second["alarms"] if one.startswith("step 2: dead groups: in 100% of the last 2 steps' groups")]
    assert alarm in " ".join("".join(capsys.readouterr()).split())


def test_the_difference_to_the_sampler_is_logged(make_config: MakeConfig) -> None:
    config = run_of(make_config)
    config["objective"] = [{"grpo": {}}]
    burnish.train(config, data=QUESTIONS)
    for line in ledger(Path(config["output"])):
        assert 0 <= line["sampling/sampling_logp_difference/mean"] <= line["sampling/sampling_logp_difference/max"] < 1e-4

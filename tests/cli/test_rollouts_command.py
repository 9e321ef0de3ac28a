"""`burnish rollouts`: what was written and what it was worth, and rows made of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from burnish.cli.main import app
from burnish.data.detect import detect_format
from burnish.registry import load
from burnish.rollout.contract import Episode, Span
from burnish.rollout.journal import Journal
from burnish.rollout.sampler import Completion
from burnish.rollout.selection import rows
from burnish.rollout.trajectory import Origin, Trajectory
from burnish.testing import tiny_tokenizer

TOKENIZER = tiny_tokenizer(chat=False)


def answer(group: int, member: int, text: str, reward: float) -> Trajectory:
    prompt, ids = TOKENIZER("2 + 2 = ")["input_ids"], [*TOKENIZER(text)["input_ids"], TOKENIZER.eos_token_id]
    sampled = Completion(ids, [-0.5] * len(ids), finished=True)
    episode = Episode(spans=(Span(ids=tuple(prompt)), Span(ids=tuple(ids), sampled=sampled)))
    made = Trajectory.of(Origin("main", group, 0, group, member), episode, version=3)
    return replace(made.with_tokens(advantages=np.zeros(len(made.ids), np.float32)), rewards={"right": reward}, reward=reward)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two rollout batches: one group with a right and a wrong answer, one with two wrong ones, one cut short."""
    TOKENIZER.save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.yaml").write_text(f"model: {{name: {tmp_path / 'tokenizer'}}}\n")
    journal = Journal(tmp_path / "run/rollouts")
    journal.append(0, [answer(0, 0, "4", 1.0), answer(0, 1, "five", 0.0), answer(1, 0, "six", 0.0), answer(1, 1, "7", 0.0)])
    journal.append(1, [replace(answer(0, 0, "four, I", 0.25), outcome="truncated")])
    return tmp_path / "run"


def burnish(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["rollouts", *map(str, arguments)])


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_show(run: Path) -> None:
    result = burnish("show", run)
    assert result.exit_code == 0
    assert "rollout 1, row 0 of main, member 0: reward 0.25 (right 0.25), truncated, 8 tokens" in result.stdout
    assert "four, I" in result.stdout
    assert "5 trajectories in 2 of 2 rollout batches" in result.stdout
    assert "1 trajectories in 1 of 2" in burnish("show", run, "--min-reward", "0.5").stdout
    assert "1 trajectories in 1 of 2" in burnish("show", run, "--outcome", "truncated").stdout
    assert "4 trajectories in 1 of 2" in burnish("show", run, "--number", "0").stdout
    assert "2 trajectories in 1 of 2" in burnish("show", run, "--max-length", "2").stdout
    assert "3 trajectories in 2 of 2" in burnish("show", run, "--min-length", "3").stdout
    assert "3 trajectories in 1 of 2" in burnish("show", run, "--max-reward", "0").stdout


def test_good_answers_as_rows_for_sft(run: Path, tmp_path: Path) -> None:
    output = tmp_path / "good.jsonl"
    assert burnish("export", run, output, "--min-reward", "1").exit_code == 0
    assert read(output) == [{"prompt": "2 + 2 = ", "completion": "4", "reward": 1.0, "right": 1.0}]


def test_pairs_of_groups_that_differ(run: Path, tmp_path: Path) -> None:
    output = tmp_path / "pairs.jsonl"
    assert burnish("export", run, output, "--as", "preferences").exit_code == 0
    rewards = {"reward_chosen": 1.0, "reward_rejected": 0.0}  # no `margin`, which would change the loss that learns from them
    assert read(output) == [{"prompt": "2 + 2 = ", "chosen": "4", "rejected": "five", **rewards}]


def test_rows_begin_a_sequence_once() -> None:
    tokenizer = tiny_tokenizer(bos=True)
    prompt = tokenizer("2 + 2 =")["input_ids"]
    assert prompt[0] == tokenizer.bos_token_id
    said = Completion(tokenizer("4", add_special_tokens=False)["input_ids"], [-0.5], finished=True)
    episode = Episode(spans=(Span(ids=tuple(prompt)), Span(ids=tuple(said.ids), sampled=said)))
    [row] = rows([Trajectory.of(Origin("main", 0, 0, 0, 0), episode, version=3)], "completions", tokenizer)
    assert row["prompt"] == "2 + 2 ="
    assert tokenizer(row["prompt"])["input_ids"] == prompt


def test_trajectories_are_read_back_as_data(run: Path, tmp_path: Path) -> None:
    output = tmp_path / "all.jsonl"
    assert burnish("export", run, output, "--as", "trajectories").exit_code == 0
    found = read(output)
    assert len(found) == 5
    assert found[0]["completion_ids"] == [*TOKENIZER("4")["input_ids"], TOKENIZER.eos_token_id]
    assert found[0]["behaviour_logps"] == [-0.5, -0.5]
    assert detect_format(found, load()).kind == "trajectory"


def test_what_cannot_be_done_is_said(run: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken.jsonl"
    taken.write_text("mine")
    for arguments, said in (
        (("export", run, taken), "exists; choose another file"),
        (("export", run, tmp_path / "x", "--as", "preference"), "Did you mean 'preferences'"),
        (("export", run, tmp_path / "x", "--min-reward", "9"), "2 rollout batches, none of which gives such a row"),
        (("show", tmp_path), "is not a run"),
        (("show", run, "--outcome", "trunkated"), "no outcome named 'trunkated'. Did you mean 'truncated'?"),
    ):
        result = burnish(*arguments)
        assert result.exit_code == 2
        assert said in result.stderr
    assert taken.read_text() == "mine"
    assert not (tmp_path / "x").exists()
    for file in (run / "rollouts").iterdir():
        file.unlink()
    assert "has no rollouts" in burnish("show", run).stderr


def test_what_each_turn_earned_is_shown(run: Path) -> None:
    """Two turns of one token each, which earned .5 and -2; the second reward judges the whole alone."""
    turns = [Span(ids=(40,), sampled=Completion([40], [-0.5], finished=True), reward=reward) for reward in (0.5, -2.0)]
    episode = Episode(spans=(Span(ids=(1,)), turns[0], Span(ids=(2,)), turns[1]))
    made = Trajectory.of(Origin("main", 0, 0, 0, 0), episode, version=3)
    Journal(run / "rollouts").append(2, [replace(made, reward=-1.5)])
    shown = burnish("show", run, "--number", "2").stdout
    assert "reward -1.5 (turns -1.5)" in shown
    assert "turns, step by step: 0.5, -2" in shown
    assert "step by step" not in burnish("show", run, "--number", "1").stdout

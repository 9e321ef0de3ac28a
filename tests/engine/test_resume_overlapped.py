"""Killed while rollouts are drawn, beside training or before it: every prompt once, and from the journal the same weights, bit
for bit."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from policy import HERE, online
from runs import TEXTS, MakeConfig, write_rows

from burnish.api import train
from burnish.rollout.journal import Journal
from burnish.testing import assert_survives, assert_whole

STEPS = 8


def drawn(make_config: MakeConfig, tmp_path: Path, **rollout: Any) -> dict[str, Any]:
    """One step to a rollout batch of two prompts, a checkpoint after every second; all of them kept."""
    write_rows(tmp_path / "pairs.jsonl", TEXTS)
    copied = {f"{HERE.with_name('copied.py')}:Copied": {"model": make_config()["model"]["name"]}}
    section = {"epochs": 1, "max_staleness": 2, "backend": copied, "receipts": {"handshake": False}, **rollout}
    steps = {"train": {"batch_size": 8, "steps": STEPS}, "checkpoint": {"every": 2, "keep": STEPS}}
    config: dict[str, Any] = make_config(**online(**section) | steps)
    return config


def kills(seed: int) -> list[int]:
    """Once when there is a checkpoint, once soon after it has gone on."""
    chance = random.Random(seed)
    return [chance.randrange(26, 44), chance.randrange(2, 12)]


def test_killed_twice_it_trains_on_every_prompt_once(make_config: MakeConfig, tmp_path: Path) -> None:
    config = drawn(make_config, tmp_path, filter=True, rewards=[f"{HERE}:begins_small"])
    config["data"]["main"] |= {"streaming": True, "shuffle_buffer": 7}
    assert_survives(config, kills(0))


PLACES = [  # what is renamed: two rollout batches, the checkpoint of step 2, two rollout batches, the checkpoint of step 4
    pytest.param("os:rename", 3, id="a rollout batch is written, without its name"),
    pytest.param("burnish.rollout.journal:_sync", 2, id="it has its name, which is not safe yet"),
    pytest.param("os:rename", 5, id="a checkpoint is written, without its name"),
    pytest.param("burnish.engine.sending:require_receipt", 2, id="a backend has new weights, and nobody looked at its receipt"),
]


@pytest.mark.parametrize(("place", "count"), PLACES)
def test_killed_in_the_middle_of_something(make_config: MakeConfig, tmp_path: Path, place: str, count: int) -> None:
    assert_survives(drawn(make_config, tmp_path), [count], events=[place])


def test_what_a_run_must_not_have_left(make_config: MakeConfig, tmp_path: Path) -> None:
    config = drawn(make_config, tmp_path, backend={"hf": {}}, max_staleness=0)
    train(config)
    assert_whole(config)
    run = tmp_path / "run"
    journal, metrics = Journal(run / "rollouts"), run / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(lines[:2] + lines[3:]))
    with pytest.raises(AssertionError, match="the steps of its metrics are"):
        assert_whole(config)
    metrics.write_text("".join(lines))

    first = journal.read(0) or []
    later = [replace(one, origin=replace(one.origin, group=2 * STEPS + one.origin.group)) for one in first]
    for more, said in ((first, "two rollout batches"), (later, rf"batch {STEPS} are .* versions old")):
        journal.append(STEPS, more)
        with pytest.raises(AssertionError, match=said):
            assert_whole(config)
        journal.forget_after(STEPS - 1)
    assert_whole(config)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_killed_anywhere(make_config: MakeConfig, tmp_path: Path, seed: int) -> None:
    assert_survives(drawn(make_config, tmp_path, oversample=seed % 2, filter=seed % 3 == 0), kills(seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(11, 21))
def test_killed_anywhere_where_the_model_draws(make_config: MakeConfig, tmp_path: Path, seed: int) -> None:
    assert_survives(drawn(make_config, tmp_path, backend={"hf": {}}, max_staleness=0, filter=seed % 3 == 0), kills(seed))

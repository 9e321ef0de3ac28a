"""Killed while rollouts are drawn, beside training or before it: every prompt once, and from the journal the same weights, bit
for bit."""

from __future__ import annotations

import random
import signal
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
from killing import NEVER, train_until
from policy import HERE, online
from runs import TEXTS, MakeConfig, assert_same, ledger, weights, write_rows

from burnish.api import train
from burnish.rollout.journal import Journal

STEPS = 8


def run_child(children: ForkServerContext, event: int, config: dict[str, Any], tmp_path: Path, **options: Any) -> int | None:
    process = children.Process(target=train_until, args=(event, str(tmp_path / "count"), config, options))
    process.start()
    process.join(240)
    return process.exitcode


def drawn(make_config: MakeConfig, **rollout: Any) -> dict[str, Any]:
    """One step to a rollout batch of two prompts, a checkpoint after every second; all of them kept."""
    copied = {f"{HERE.with_name('copied.py')}:Copied": {"model": make_config()["model"]["name"]}}
    section = {"epochs": 1, "max_staleness": 2, "backend": copied, "receipts": {"handshake": False}, **rollout}
    steps = {"train": {"batch_size": 8, "steps": STEPS}, "checkpoint": {"every": 2, "keep": STEPS}}
    return make_config(**online(**section) | steps)


def check_kills(make_config: MakeConfig, children: ForkServerContext, tmp_path: Path, seed: int, **rollout: Any) -> None:
    write_rows(tmp_path / "pairs.jsonl", TEXTS)
    config, chance = drawn(make_config, **rollout), random.Random(seed)
    assert run_child(children, chance.randrange(26, 44), config, tmp_path) == -signal.SIGKILL
    assert run_child(children, chance.randrange(2, 12), config, tmp_path, resume=True) == -signal.SIGKILL
    assert run_child(children, NEVER, config, tmp_path, resume=True) == 0

    run = tmp_path / "run"
    journal = Journal(run / "rollouts")
    batches = [journal.read(number) or [] for number in journal.numbers()]
    used = [group for batch in batches for group in {one.origin.group for one in batch}]
    assert len(used) == len(set(used))
    assert len(set(range(max(used))) - set(used)) <= 3 * 2 + 1  # skipped are only those that were under way at the end
    ages = {number - version for number, batch in enumerate(batches) for one in batch for version in one.versions[one.own]}
    assert ages <= {0, 1, 2}
    assert [line["step"] for line in ledger(run)] == list(range(1, STEPS + 1))

    trained, files = weights(run), sorted((run / "rollouts").iterdir())
    train(config, resume=True, step=2)  # with what the journal has, and nothing else
    assert sorted((run / "rollouts").iterdir()) == files
    assert_same(weights(run), trained)


def test_killed_twice_it_trains_on_every_prompt_once(
    make_config: MakeConfig, children: ForkServerContext, tmp_path: Path
) -> None:
    check_kills(make_config, children, tmp_path, seed=0, filter=True, rewards=[f"{HERE}:begins_small"])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_killed_anywhere(make_config: MakeConfig, children: ForkServerContext, tmp_path: Path, seed: int) -> None:
    check_kills(make_config, children, tmp_path, seed, oversample=seed % 2, filter=seed % 3 == 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(11, 21))
def test_killed_anywhere_where_the_model_draws(
    make_config: MakeConfig, children: ForkServerContext, tmp_path: Path, seed: int
) -> None:
    check_kills(make_config, children, tmp_path, seed, backend={"hf": {}}, max_staleness=0, filter=seed % 3 == 0)

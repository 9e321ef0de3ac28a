"""Whole runs whose model is drawn from a copy of it in the same process, taking turns and beside training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from policy import online
from runs import LORA, MakeConfig, ledger, weights

import burnish
from burnish.errors import ConfigError
from burnish.rollout.journal import Journal

QUESTIONS = [{"prompt": f"q {number}: "} for number in range(12)]


@pytest.mark.parametrize("adapter", [None, LORA], ids=["full", "adapter"])
def test_taking_turns_it_trains_as_the_model_itself_does(
    make_config: MakeConfig, tmp_path: Path, adapter: dict[str, Any] | None
) -> None:
    """Every version is proven and drawn from: receipts and canaries would end the run; to rounding the weights are the same."""
    found = []
    for name in ("hf", "hf_copy"):
        config = make_config(model={"adapter": adapter}, **online(epochs=1, backend={name: {}}))
        config |= {"train": {"batch_size": 8, "steps": 3}, "output": str(tmp_path / name)}
        burnish.train(config, data=QUESTIONS)
        found.append(weights(tmp_path / name))
    ours, theirs = found
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in theirs)


def test_beside_training_no_token_is_older_than_allowed(make_config: MakeConfig) -> None:
    config = make_config(**online(epochs=1, backend={"hf_copy": {"device": "cpu"}}, max_staleness=2))
    config["train"] = {"batch_size": 8, "steps": 6}
    burnish.train(config, data=QUESTIONS)
    journal = Journal(Path(config["output"]) / "rollouts")
    ages = [
        set((number - one.versions[one.own]).tolist()) for number in journal.numbers() for one in journal.read(number) or ()
    ]
    assert {0, 1} <= set().union(*ages) <= {0, 1, 2}
    assert {line["sampling/staleness/max"] for line in ledger(Path(config["output"]))} <= {0.0, 1.0, 2.0}


def test_a_device_that_is_missing_is_told_before_the_model_is_read(make_config: MakeConfig) -> None:
    """There is no such model either, which nobody asks yet."""
    config = make_config(**online(epochs=1, backend={"hf_copy": {"device": "cuda:99"}}))
    config["model"] = {"name": "no/such/model"}
    with pytest.raises(ConfigError, match="this machine has no device 'cuda:99'"):
        burnish.train(config, data=QUESTIONS)

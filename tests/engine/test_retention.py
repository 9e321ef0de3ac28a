"""The journal of a long run is shortened as its config says, and never by what a kept checkpoint goes on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from policy import online
from runs import TEXTS, MakeConfig, assert_same, weights

import burnish
from burnish.engine.replaying import Replayed
from burnish.errors import ConfigError, RunError
from burnish.rollout.journal import Journal

QUESTIONS = [{"prompt": one["prompt"]} for one in TEXTS]


def shortened(make_config: MakeConfig, keep: int | None, **changes: Any) -> dict[str, Any]:
    """Eight rollout batches of one step each, a checkpoint after every second, of which two are kept: steps 6 and 8."""
    config: dict[str, Any] = make_config(**online(epochs=1, keep=keep))
    return config | {"train": {"batch_size": 8, "steps": 8}, "checkpoint": {"every": 2, "keep": 2}, **changes}


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        (None, list(range(8))),
        (4, [4, 5, 6, 7]),
        (1, [6, 7]),  # the checkpoint of step 6 goes on from the batches 6 and 7
    ],
)
def test_what_is_left(make_config: MakeConfig, tmp_path: Path, keep: int | None, left: list[int]) -> None:
    result = burnish.train(shortened(make_config, keep), data=QUESTIONS)
    journal = Journal(tmp_path / "run" / "rollouts")
    assert journal.numbers() == left
    whole = weights(result.path)
    again = burnish.train(shortened(make_config, keep), data=QUESTIONS, resume=True, step=6)
    assert_same(whole, weights(again.path))
    assert journal.numbers() == left


def test_a_shortened_journal_is_not_the_whole_run(make_config: MakeConfig, tmp_path: Path) -> None:
    burnish.train(shortened(make_config, 1), data=QUESTIONS)
    with pytest.raises(RunError, match="begins with rollout batch 6"):
        Replayed(tmp_path / "run")


def test_without_checkpoints_everything_is_needed(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"rollout\.keep: .* let `checkpoint.every` be a number"):
        burnish.train(shortened(make_config, 1, checkpoint={"every": None}), data=QUESTIONS)

"""Numbers of steps reach the policy's tokens, whatever tokenizer the process reward model has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from burnish_prm.placing import ends_of_steps
from burnish_prm.reward import ProcessReward

import burnish
from burnish.errors import RewardError
from burnish.rollout.contract import Steps
from burnish.rollout.journal import Journal
from burnish.testing import tiny_model, tiny_tokenizer


class Words:
    """Decodes ids as words of a list."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def decode(self, ids: list[int], **_: Any) -> str:
        return "".join(self.words[one] for one in ids)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["one", " two", "\n", "three", "\n"], [1, 3]),  # ends with the separator
        (["one two", "\nth", "ree"], [0, 2]),
        (["one", "\n\n", "three", "\nfour", " end"], [0, 2, 4]),  # a blank step between
        (["one\ntwo", "\nthree"], [0, 0, 1]),  # one token brings the end of two
    ],
)
def test_the_token_that_ends_a_step(words: list[str], expected: list[int]) -> None:
    assert ends_of_steps("".join(words), "\n", list(range(len(words))), Words(*words)) == expected


def test_each_step_earns_its_probability_at_its_end(tmp_path: Path) -> None:
    tiny_model("llama_steps").save_pretrained(tmp_path)
    tiny_tokenizer(chat=False).save_pretrained(tmp_path)
    reward = ProcessReward(str(tmp_path), per_step=True)
    [known] = reward.steps(["p: "], ["ab\ncd"])
    assert isinstance(known, tuple)
    words = Words("a", "b\nc", "d")
    [found, none] = reward(["p: "] * 2, ["ab\ncd", " "], [[0, 1, 2], [0]], words)
    assert found == Steps(ends=(1, 2), rewards=known)
    assert none is None
    with pytest.raises(RewardError, match="places steps among the policy's tokens"):
        reward(["p: "], ["ab"], [[0]])


def test_steps_of_a_rollout_are_judged_and_trained_on(tmp_path: Path) -> None:
    judge = tmp_path / "judge"
    tiny_model("llama_steps").save_pretrained(judge)
    tiny_tokenizer(chat=False).save_pretrained(judge)
    options = {"model": str(judge), "per_step": True, "step_separator": " "}
    config = {
        "objective": [{"grpo": {}}],
        "rollout": {
            "prompts": 2,
            "group_size": 2,
            "rewards": [{"prm": {"options": options}}],
            "advantage": "step",
            "sampling": {"max_new_tokens": 12},
        },
        "train": {"batch_size": 4, "steps": 1},
        "output": str(tmp_path / "run"),
    }
    rows = [{"prompt": f"{n}: "} for n in range(2)]
    burnish.train(config, model=tiny_model(), tokenizer=tiny_tokenizer(chat=False), data=rows)
    drawn = [one for one in Journal(tmp_path / "run" / "rollouts").read(0) or [] if one.is_trainable]
    assert drawn
    for one in drawn:
        earned = one.earned["prm"]
        assert one.rewards["prm"] == pytest.approx(float(earned.sum()), rel=1e-5)
        assert set(earned.nonzero()[0]) <= set(one.own.nonzero()[0])
        assert np.isfinite(one.tokens["advantages"]).all()

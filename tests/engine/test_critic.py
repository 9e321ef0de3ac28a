"""PPO with a critic of its own: it learns values, the policy's layers do not; it is kept in checkpoints, and not exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from policy import online
from runs import LORA, TEXTS, MakeConfig, assert_same, ledger, weights

import burnish
from burnish.config import load_config
from burnish.engine.forecast import forecast
from burnish.errors import BurnishError, ConfigError, ModelError
from burnish.model.values import VALUE_HEAD
from burnish.registry import load
from burnish.rollout.journal import Journal
from burnish.testing import tiny_model, tiny_tokenizer

QUESTIONS = [{"prompt": one["prompt"]} for one in TEXTS]


def ppo(make_config: MakeConfig, critic: str, **changes: Any) -> dict[str, Any]:
    """Four rollout batches of two steps each."""
    config = make_config(**online(advantage="gae", epochs=1, kl_in_reward={"beta": 0.01}), value={"model": critic}, **changes)
    objective = [{"grpo": {}}, {"value": {"weight": 0.1}}]
    made: dict[str, Any] = config | {"objective": objective, "train": {"batch_size": 4, "steps": 8}, "checkpoint": {"every": 2}}
    return made


@pytest.mark.parametrize("adapter", [None, LORA], ids=["full", "lora"])
def test_a_critic_learns_values_and_goes_on_after_a_checkpoint(make_config: MakeConfig, tmp_path: Path, adapter: Any) -> None:
    model = {} if adapter is None else {"model": {"adapter": adapter}}
    result = burnish.train(ppo(make_config, "copy", **model), data=QUESTIONS)
    lines = ledger(result.path)
    first, later = (Journal(result.path / "rollouts").read(number) or () for number in (0, 3))
    assert all(not one.tokens["old_value"].any() for one in first)  # its head begins at 0
    assert all(np.abs(one.tokens["old_value"][one.own]).max() > 0 for one in later)
    whole = weights(result.path)
    assert not [name for name in whole if VALUE_HEAD in name]
    again = burnish.train(ppo(make_config, "copy", **model), data=QUESTIONS, resume=True, step=6)
    assert_same(whole, weights(again.path))
    assert ledger(again.path) == lines


def test_a_reward_model_may_be_the_critic(make_config: MakeConfig, tmp_path: Path) -> None:
    tiny_model("llama_classifier").save_pretrained(tmp_path / "judge")
    tiny_tokenizer().save_pretrained(tmp_path / "judge")
    result = burnish.train(ppo(make_config, str(tmp_path / "judge")), data=QUESTIONS)
    first = Journal(result.path / "rollouts").read(0) or ()
    assert all(np.abs(one.tokens["old_value"][one.own]).max() > 0 for one in first)  # it gives scores from the first token on


def test_the_critic_is_foreseen(make_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "questions.jsonl").write_text('{"prompt": "twice 1 is"}\n' * 8)
    sizes = {}
    for critic in ("shared", "copy"):
        values = ppo(make_config, critic, data={"main": {"source": str(tmp_path / "questions.jsonl")}})
        found = forecast(load_config(values), load())
        assert "rehearsal of memory" not in found.off
        sizes[critic] = found.memory
    assert sizes["copy"]["weights"] > 1.9 * sizes["shared"]["weights"]
    assert sizes["copy"]["optimiser"] > 1.9 * sizes["shared"]["optimiser"]


@pytest.mark.parametrize(
    ("critic", "changes", "error", "says"),
    [
        ("copy", {"objective": [{"grpo": {}}]}, ConfigError, "no part of the objective reads values"),
        ("./nowhere", {}, ModelError, "no model at .*nowhere'"),
        (
            "./judge",
            {"model": {"adapter": LORA, "quantize": "4bit"}},
            ConfigError,
            r"judge' would be read in 4bit .* `copy` trains adapters",
        ),
    ],
)
def test_what_cannot_be_a_critic(
    make_config: MakeConfig, critic: str, changes: dict[str, Any], error: type[BurnishError], says: str
) -> None:
    config = ppo(make_config, critic)
    config["model"] |= changes.pop("model", {})
    with pytest.raises(error, match=says):
        burnish.train(config | changes, data=QUESTIONS)


def test_a_critic_of_another_tokenizer(make_config: MakeConfig, tmp_path: Path) -> None:
    tiny_model("llama", vocab_size=100).save_pretrained(tmp_path / "small")
    with pytest.raises(ModelError, match="knows 100 ids, the policy 261"):
        burnish.train(ppo(make_config, str(tmp_path / "small")), data=QUESTIONS)

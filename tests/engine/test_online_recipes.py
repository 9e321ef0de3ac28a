"""Recipes of online methods: what they stand for, and that they train. One table, as the methods are told apart by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from policy import HERE
from runs import MakeConfig, ledger, write_rows

import burnish
from burnish.cli.plan import steps
from burnish.config import load_config
from burnish.config.defaults import with_plugin_options
from burnish.config.sections import KLInRewardSection, OpponentsSection, RolloutSection
from burnish.engine.forecast import forecast
from burnish.objective.compose import Objective
from burnish.registry import load

QUESTIONS = [{"prompt": f"q {number}: "} for number in range(8)]
ONE = {"group": {}}
KL = KLInRewardSection()
# recipe -> advantage, the loss's name and the fields that make the method, its reduction, and what else the rollout has
METHODS: dict[str, tuple[dict[str, Any], str, dict[str, Any], str, dict[str, Any]]] = {
    "grpo": (ONE, "grpo", {"level": "token", "epsilon": 0.2}, "sequence_token_mean", {}),
    "dr_grpo": ({"group": {"scale": "none"}}, "grpo", {"level": "token"}, "constant(256)", {}),
    "dapo": (ONE, "grpo", {"epsilon": 0.2, "epsilon_high": 0.28}, "token_mean", {"filter": True}),
    "gspo": (ONE, "gspo", {"epsilon": 3e-4, "epsilon_high": 4e-4}, "sequence_mean", {}),
    "cispo": (ONE, "cispo", {"cap": 5.0}, "token_mean", {}),
    "sapo": (ONE, "sapo", {"temperature_pos": 1.0, "temperature_neg": 1.05}, "sequence_token_mean", {}),
    "gmpo": (ONE, "gmpo", {"epsilon": 0.4}, "sequence_mean", {}),
    "rloo": ({"rloo": {}}, "grpo", {"level": "sequence_sum"}, "sequence_mean", {"kl_in_reward": KL}),
    "reinforce_pp": (
        {"reinforce_pp": {"group_baseline": False}},
        "reinforce",
        {},
        "token_mean",
        {"kl_in_reward": KL.model_copy(update={"beta": 0.01})},
    ),
    "ppo": (
        {"gae": {"gamma": 1.0, "lam": 0.95}},
        "grpo",
        {"level": "token", "epsilon": 0.2},
        "token_mean",
        {"kl_in_reward": KL, "epochs": 4},
    ),
    "online_dpo": (
        ONE,
        "online_dpo",
        {"beta": 0.1, "form": "sigmoid"},
        "pair_mean",
        {"pairs": "best_worst", "group_size": 2, "opponents": None},
    ),
    "xpo": (
        ONE,
        "xpo",
        {"beta": 0.1, "alpha": 1e-5},
        "pair_mean",
        {"pairs": "opponents", "group_size": 1, "opponents": OpponentsSection(count=1, mixture=1.0)},
    ),
    "nash_md": (
        {"nash_md": {}},
        "nash_md",
        {"beta": 0.1},
        "sequence_mean",
        {"pairs": None, "group_size": 1, "opponents": OpponentsSection(count=1, mixture=0.5)},
    ),
    "a2po": (
        {"a2po": {"beta": 0.5}},
        "a2po",
        {"beta": 1e-3},
        "sequence_mean",
        {"group_size": 1, "opponents": OpponentsSection(count=8, mixture=1.0)},
    ),
}


def expanded(recipe: Any) -> tuple[RolloutSection, Objective]:
    registry = load()
    config = load_config({"recipe": recipe}, registry=registry)
    assert config.rollout is not None
    return config.rollout, Objective.parse(config.objective, registry)


@pytest.mark.parametrize("name", METHODS)
def test_what_a_recipe_stands_for(name: str) -> None:
    advantage, loss, fields, reduction, rest = METHODS[name]
    rollout, objective = expanded(name)
    part = objective.entries[0]
    assert rollout.advantage == advantage
    assert (part.name, part.weight, str(part.reduction)) == (loss, 1.0, reduction)
    assert {field: getattr(part.loss, field) for field in fields} == fields
    assert {field: getattr(rollout, field) for field in rest} == rest
    assert rollout.kl_in_reward == rest.get("kl_in_reward")


def test_ppo_has_a_critic() -> None:
    _, objective = expanded({"ppo": {"epsilon": 0.1, "value_weight": 0.2}})
    policy, critic = objective.entries
    assert (critic.name, critic.weight, str(critic.reduction)) == ("value", 0.2, "token_mean")
    assert policy.loss.epsilon == critic.loss.clip == 0.1  # type: ignore[attr-defined]


def test_dapo_punishes_length_beside_what_answers_are_worth() -> None:
    rollout, _ = expanded({"dapo": {"rewards": ["math"], "max_new_tokens": 100}})
    [first, second] = rollout.rewards
    assert [*first] == ["math"]
    assert second["soft_overlong"].options == {"max_length": 100, "margin": 20}
    assert rollout.sampling.max_new_tokens == 100


def test_reinforce_pp_with_several_steps() -> None:
    rollout, objective = expanded({"reinforce_pp": {"epsilon": 0.2, "group_baseline": True}})
    assert rollout.advantage == {"reinforce_pp": {"group_baseline": True}}
    assert [(part.name, str(part.reduction)) for part in objective.entries] == [("grpo", "token_mean")]


@pytest.mark.parametrize("name", METHODS)
def test_two_steps(name: str, make_config: MakeConfig) -> None:
    config: dict[str, Any] = make_config(
        rollout={
            "prompts": 2,
            "group_size": METHODS[name][4].get("group_size", 4),
            "rewards": [f"{HERE}:small"],
            "sampling": {"max_new_tokens": 4, "temperature": 1.0},
        }
    )
    del config["objective"], config["optimizer"]
    config |= {"recipe": name, "train": {"batch_size": 8, "steps": 2}}
    burnish.train(config, data=QUESTIONS)
    lines = ledger(Path(config["output"]))
    assert [line["step"] for line in lines] == [1, 2]
    assert all(line["grad_norm"] > 0 for line in lines)


@pytest.mark.parametrize("name", ["dapo", "ppo", "online_dpo", "a2po"])
def test_what_is_planned(name: str, make_config: MakeConfig, tmp_path: Path) -> None:
    """One rollout batch an epoch: eight prompts, and so many completions, or pairs, of each."""
    registry = load()
    config = make_config(rollout={"prompts": 8, "rewards": ["exact_match"], "sampling": {"max_new_tokens": 4}})
    del config["objective"], config["optimizer"]
    config["data"]["main"]["source"] = write_rows(tmp_path / "questions.jsonl", QUESTIONS)
    config |= {"recipe": name, "train": {"batch_size": 4, "epochs": 1.0}}
    read = load_config(config, registry=registry)
    assert read.rollout is not None
    found = forecast(with_plugin_options(read, registry), registry)
    rest = METHODS[name][4]
    units = 8 if rest.get("pairs") else 8 * rest.get("group_size", 8)
    assert found.num_steps == rest.get("epochs", 1) * units // 4
    planned = [*steps(read, found)]
    assert ("pairs" in planned[0]) == (rest.get("pairs") is not None)

"""Recipe: proximal policy optimisation."""

from __future__ import annotations

from typing import Any


def ppo(
    beta: float = 0.05, epsilon: float = 0.2, value_weight: float = 0.1, gamma: float = 1.0, lam: float = 0.95, epochs: int = 4
) -> dict[str, Any]:
    """beta: reward that a nat of divergence from the reference costs at its token. epsilon: how far ratios and values may move.
    value_weight: of the critic's loss. gamma, lam: as in the advantage. epochs: passes over a rollout batch."""
    return {
        "rollout": {"advantage": {"gae": {"gamma": gamma, "lam": lam}}, "kl_in_reward": {"beta": beta}, "epochs": epochs},
        "objective": [
            {"grpo": {"epsilon": epsilon, "reduction": "token_mean"}},
            {"value": {"clip": epsilon, "weight": value_weight}},
        ],
        "optimizer": {"lr": 1e-6},
    }

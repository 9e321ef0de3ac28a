"""Recipe: REINFORCE leave-one-out."""

from __future__ import annotations

from typing import Any


def rloo(beta: float = 0.05, epsilon: float = 0.2) -> dict[str, Any]:
    """An answer is one action, with one ratio. beta: reward that a nat of divergence from the reference costs. epsilon: as in
    the loss."""
    return {
        "rollout": {"advantage": {"rloo": {}}, "kl_in_reward": {"beta": beta}},
        "objective": [{"grpo": {"level": "sequence_sum", "epsilon": epsilon, "reduction": "sequence_mean"}}],
        "optimizer": {"lr": 1e-6},
    }

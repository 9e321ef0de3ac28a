"""Recipe: REINFORCE++."""

from __future__ import annotations

from typing import Any


def reinforce_pp(beta: float = 0.01, group_baseline: bool = False, epsilon: float | None = None) -> dict[str, Any]:
    """beta: reward that a nat of divergence from the reference costs at its token. group_baseline: as in the advantage.
    epsilon: clip ratios at 1 +- epsilon, for several steps on a rollout batch; None for the plain gradient, for one."""
    loss: dict[str, Any] = {"reinforce": {}} if epsilon is None else {"grpo": {"epsilon": epsilon, "reduction": "token_mean"}}
    return {
        "rollout": {"advantage": {"reinforce_pp": {"group_baseline": group_baseline}}, "kl_in_reward": {"beta": beta}},
        "objective": [loss],
        "optimizer": {"lr": 1e-6},
    }

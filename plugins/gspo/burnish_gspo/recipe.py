"""Recipe: group sequence policy optimisation."""

from __future__ import annotations

from typing import Any


def gspo(epsilon: float = 3e-4, epsilon_high: float = 4e-4) -> dict[str, Any]:
    """epsilon, epsilon_high: as in the loss."""
    return {
        "rollout": {"advantage": {"group": {}}},
        "objective": [{"gspo": {"epsilon": epsilon, "epsilon_high": epsilon_high}}],
        "optimizer": {"lr": 1e-6},
    }

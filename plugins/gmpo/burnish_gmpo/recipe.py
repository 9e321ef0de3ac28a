"""Recipe: geometric-mean policy optimisation."""

from __future__ import annotations

from typing import Any


def gmpo(epsilon: float = 0.4) -> dict[str, Any]:
    """epsilon: as in the loss."""
    return {
        "rollout": {"advantage": {"group": {}}},
        "objective": [{"gmpo": {"epsilon": epsilon}}],
        "optimizer": {"lr": 1e-6},
    }

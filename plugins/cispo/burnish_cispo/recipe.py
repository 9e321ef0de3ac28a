"""Recipe: clipped importance sampling policy optimisation."""

from __future__ import annotations

from typing import Any


def cispo(cap: float = 5.0) -> dict[str, Any]:
    """cap: as in the loss."""
    return {
        "rollout": {"advantage": {"group": {}}},
        "objective": [{"cispo": {"cap": cap}}],
        "optimizer": {"lr": 1e-6},
    }

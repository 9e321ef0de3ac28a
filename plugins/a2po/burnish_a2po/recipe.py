"""Recipe: optimal advantage regression."""

from __future__ import annotations

from typing import Any


def a2po(beta: float = 1e-3, value_beta: float = 0.5, samples: int = 8) -> dict[str, Any]:
    """beta: as in the loss. value_beta: as in the advantage. samples: of the reference for each prompt, to estimate V*."""
    return {
        "rollout": {
            "group_size": 1,
            "advantage": {"a2po": {"beta": value_beta}},
            "opponents": {"count": samples, "mixture": 1.0},
        },
        "objective": [{"a2po": {"beta": beta}}],
        "optimizer": {"lr": 1e-6},
    }

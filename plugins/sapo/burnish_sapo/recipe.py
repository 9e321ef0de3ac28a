"""Recipe: soft adaptive policy optimisation."""

from __future__ import annotations

from typing import Any


def sapo(temperature_pos: float = 1.0, temperature_neg: float = 1.05) -> dict[str, Any]:
    """temperature_pos, temperature_neg: as in the loss."""
    return {
        "rollout": {"advantage": {"group": {}}},
        "objective": [{"sapo": {"temperature_pos": temperature_pos, "temperature_neg": temperature_neg}}],
        "optimizer": {"lr": 1e-6},
    }

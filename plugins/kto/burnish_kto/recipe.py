"""Recipe: Kahneman-Tversky optimisation."""

from __future__ import annotations

from typing import Any


def kto(beta: float = 0.1, desirable_weight: float = 1.0, undesirable_weight: float = 1.0) -> dict[str, Any]:
    """As in the loss."""
    loss = {"beta": beta, "desirable_weight": desirable_weight, "undesirable_weight": undesirable_weight}
    return {"objective": [{"kto": loss}], "optimizer": {"lr": 1e-6}}

"""Recipe: a reward model from preferences."""

from __future__ import annotations

from typing import Any


def reward(center: float = 0.01) -> dict[str, Any]:
    """center: as in the loss."""
    return {"objective": [{"bradley_terry": {"center": center}}], "optimizer": {"lr": 1e-5}}

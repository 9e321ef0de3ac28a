"""Recipe: identity preference optimisation."""

from __future__ import annotations

from typing import Any


def ipo(beta: float = 0.1) -> dict[str, Any]:
    """beta: as in the loss."""
    return {"objective": [{"ipo": {"beta": beta}}], "optimizer": {"lr": 1e-6}}

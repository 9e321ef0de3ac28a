"""Recipe: simple preference optimisation."""

from __future__ import annotations

from typing import Any


def simpo(beta: float = 2.0, gamma: float = 1.0) -> dict[str, Any]:
    """beta, gamma: as in the loss; the defaults are the paper's first."""
    return {"objective": [{"simpo": {"beta": beta, "gamma": gamma}}], "optimizer": {"lr": 1e-6}}

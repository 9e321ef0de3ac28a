"""Recipes: triple preference optimisation, with sums and with means of log-probabilities."""

from __future__ import annotations

from typing import Any


def tpo(beta: float = 0.01, alpha: float = 1.0) -> dict[str, Any]:
    """beta: as in the loss. alpha: weight of the gold answers' negative log-likelihood."""
    return {"objective": [{"tpo": {"beta": beta}}, _gold(alpha)], "optimizer": {"lr": 1e-6}}


def tpo_l(beta: float = 0.01, gamma: float = 0.5, alpha: float = 1.0) -> dict[str, Any]:
    """beta, gamma: as in the loss. alpha: weight of the gold answers' negative log-likelihood."""
    return {"objective": [{"tpo_l": {"beta": beta, "gamma": gamma}}, _gold(alpha)], "optimizer": {"lr": 1e-6}}


def _gold(alpha: float) -> dict[str, Any]:
    return {"sft": {"on": "gold", "weight": alpha}}

"""Recipes around direct preference optimisation."""

from __future__ import annotations

from typing import Any

LR = 1e-6


def dpo(beta: float = 0.1, label_smoothing: float = 0.0) -> dict[str, Any]:
    """Direct preference optimisation; the options are the loss's."""
    return {"objective": [{"dpo": {"beta": beta, "label_smoothing": label_smoothing}}], "optimizer": {"lr": LR}}


def rpo(beta: float = 0.1, alpha: float = 1.0) -> dict[str, Any]:
    """DPO plus `alpha` times the negative log-likelihood of the chosen answers."""
    return {"objective": [{"dpo": {"beta": beta}}, {"sft": {"on": "chosen", "weight": alpha}}], "optimizer": {"lr": LR}}

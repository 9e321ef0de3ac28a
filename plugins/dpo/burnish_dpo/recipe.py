"""Recipes around direct preference optimisation."""

from __future__ import annotations

from typing import Any

LR = 1e-6


def dpo(beta: float = 0.1, label_smoothing: float = 0.0) -> dict[str, Any]:
    """Direct preference optimisation; the options are the loss's."""
    return {"objective": [{"dpo": {"beta": beta, "label_smoothing": label_smoothing}}], "optimizer": {"lr": LR}}


def cdpo(beta: float = 0.1, label_smoothing: float = 0.1) -> dict[str, Any]:
    """Conservative DPO: `label_smoothing` is the share of preferences that may be the wrong way round."""
    return dpo(beta, label_smoothing)


def tr_dpo(beta: float = 0.1, alpha: float = 0.6, every: int = 512) -> dict[str, Any]:
    """DPO whose reference is mixed with the policy every so many steps; `alpha` 1 replaces it."""
    return {**dpo(beta), "reference": {"sync": {"mix": {"alpha": alpha, "every": every}}}}


def bema_dpo(beta: float = 0.1, every: int = 400) -> dict[str, Any]:
    """DPO whose reference is a bias-corrected exponential moving average of the policy."""
    return {**dpo(beta), "reference": {"sync": {"bema": {"every": every}}}}


def rpo(beta: float = 0.1, alpha: float = 1.0) -> dict[str, Any]:
    """DPO plus `alpha` times the negative log-likelihood of the chosen answers."""
    return {"objective": [{"dpo": {"beta": beta}}, {"sft": {"on": "chosen", "weight": alpha}}], "optimizer": {"lr": LR}}


def mpo(beta: float = 0.1) -> dict[str, Any]:
    """Mixed preference optimisation: relative preference, absolute quality, and how good answers are written."""
    return {
        "objective": [
            {"dpo": {"beta": beta, "weight": 0.8}},
            {"bco_pair": {"beta": beta, "weight": 0.2}},
            {"sft": {"on": "chosen", "weight": 1.0}},
        ],
        "optimizer": {"lr": LR},
    }

"""Recipes: what is drawn for a pair, or as an opponent, and the loss that learns from it."""

from __future__ import annotations

from typing import Any


def online_dpo(beta: float = 0.1, form: str = "sigmoid", pairs: str = "best_worst", group_size: int = 2) -> dict[str, Any]:
    """beta, form: as in the loss. pairs: the best with the worst of a group, or `all`. group_size: samples of a prompt."""
    return {
        "rollout": {"group_size": group_size, "pairs": pairs},
        "objective": [{"online_dpo": {"beta": beta, "form": form}}],
        "optimizer": {"lr": 5e-7},
    }


def xpo(beta: float = 0.1, alpha: float = 1e-5, form: str = "sigmoid") -> dict[str, Any]:
    """beta, alpha, form: as in the loss. A prompt has one sample of the policy and one of the reference."""
    return {
        "rollout": {"group_size": 1, "pairs": "opponents", "opponents": {"count": 1, "mixture": 1.0}},
        "objective": [{"xpo": {"beta": beta, "alpha": alpha, "form": form}}],
        "optimizer": {"lr": 5e-7},
    }


def nash_md(beta: float = 0.1, mixture: float = 0.5) -> dict[str, Any]:
    """beta: as in the loss. mixture: the reference's share in what draws the opponent."""
    return {
        "rollout": {
            "group_size": 1,
            "advantage": {"nash_md": {}},
            "opponents": {"count": 1, "mixture": mixture},
        },
        "objective": [{"nash_md": {"beta": beta}}],
        "optimizer": {"lr": 5e-7},
    }

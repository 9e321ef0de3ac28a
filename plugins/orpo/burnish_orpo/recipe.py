"""Recipe: odds ratio preference optimisation."""

from __future__ import annotations

from typing import Any


def orpo(beta: float = 0.1) -> dict[str, Any]:
    """beta: weight of the odds ratio beside the likelihood of chosen prompts and answers (the paper's lambda)."""
    return {
        "objective": [{"sft": {"on": "chosen", "targets": "all"}}, {"orpo": {"weight": beta}}],
        "optimizer": {"lr": 8e-6},
    }

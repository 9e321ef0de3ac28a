"""Recipe: contrastive preference optimisation."""

from __future__ import annotations

from typing import Any


def cpo(beta: float = 0.1, form: str = "sigmoid", alpha: float = 1.0) -> dict[str, Any]:
    """beta, form: as in the loss. alpha: weight of the chosen answers' negative log-likelihood."""
    return {
        "objective": [{"cpo": {"beta": beta, "form": form}}, {"sft": {"on": "chosen", "weight": alpha}}],
        "optimizer": {"lr": 1e-6},
    }

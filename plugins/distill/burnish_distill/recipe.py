"""Recipe: distillation on given answers."""

from __future__ import annotations

from typing import Any


def distill(beta: float = 0.0, temperature: float = 1.0) -> dict[str, Any]:
    """beta, temperature: as in the loss. The teacher is the config's own `teacher.model`."""
    return {"objective": [{"divergence": {"beta": beta, "temperature": temperature}}], "optimizer": {"lr": 2e-5}}

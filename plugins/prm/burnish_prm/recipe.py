"""Recipe: a process reward model."""

from __future__ import annotations

from typing import Any


def prm(last_step_only: bool = False) -> dict[str, Any]:
    """last_step_only: learn from the last step of each solution alone."""
    entry = {"targets": "last_step"} if last_step_only else {}
    return {"objective": [{"prm": entry}], "optimizer": {"lr": 1e-5}}

"""Recipe: supervised fine-tuning."""

from __future__ import annotations

from typing import Any


def sft(targets: str = "completion") -> dict[str, Any]:
    """targets: which tokens are learnt, a mask's name (`completion`, `all`, `last`)."""
    return {"objective": [{"sft": {"targets": targets}}], "optimizer": {"lr": 2e-5}}

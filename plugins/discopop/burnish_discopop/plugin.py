"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on preference pairs."""
    return [
        LossRecord(
            name="discopop",
            target="burnish_discopop.loss:DiscoPOP",
            summary="logistic and exponential loss, mixed by the gap itself",
            paper="arXiv:2406.08414",
            data="preference",
            reduction="pair_mean",
            api=1,
        )
    ]

"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on trajectories."""
    return [
        LossRecord(
            name="value",
            target="burnish_value.loss:ClippedValue",
            summary="squared distance of the value head from returns, clipped",
            paper="arXiv:1707.06347",
            data="trajectory",
            reduction="token_mean",
            api=1,
        )
    ]

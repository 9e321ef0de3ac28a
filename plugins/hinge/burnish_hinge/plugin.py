"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on preference pairs."""
    return [
        LossRecord(
            name="hinge",
            target="burnish_hinge.loss:Hinge",
            summary="hinge loss of the difference of implicit rewards",
            paper="arXiv:2309.06657",
            data="preference",
            reduction="pair_mean",
            api=1,
        )
    ]

"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on preference pairs."""
    return [
        LossRecord(
            name="exo_pair",
            target="burnish_exo.loss:EXOPair",
            summary="reverse KL from the policy's preference to the smoothed label",
            paper="arXiv:2402.00856",
            data="preference",
            reduction="pair_mean",
            api=1,
        )
    ]

"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """Two losses on preference pairs."""
    return [
        LossRecord(
            name="aot",
            target="burnish_aot.loss:AOT",
            summary="logistic loss of the policy's sorted gaps against the reference's",
            paper="arXiv:2406.05882",
            data="preference",
            reduction="pair_mean",
            api=1,
        ),
        LossRecord(
            name="aot_unpaired",
            target="burnish_aot.loss:AOTUnpaired",
            summary="logistic loss of the sorted chosen rewards against the sorted rejected ones",
            paper="arXiv:2406.05882",
            data="preference",
            reduction="pair_mean",
            api=1,
        ),
    ]

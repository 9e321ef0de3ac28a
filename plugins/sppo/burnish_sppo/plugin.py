"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on preference pairs."""
    return [
        LossRecord(
            name="sppo_hard",
            target="burnish_sppo.loss:SPPOHard",
            summary="squared distance of each implicit reward from plus or minus 1 / (2 beta)",
            paper="arXiv:2405.00675",
            data="preference",
            reduction="pair_mean",
            api=1,
        )
    ]

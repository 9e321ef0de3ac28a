"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """The loss on preference pairs."""
    return [
        LossRecord(
            name="bco_pair",
            target="burnish_bco.loss:BCOPair",
            summary="chosen and rejected answers as a binary classification by their implicit rewards",
            paper="arXiv:2404.04656",
            data="preference",
            reduction="pair_mean",
            api=1,
        )
    ]

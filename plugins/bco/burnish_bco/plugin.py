"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on preference pairs, one on single answers marked good or bad."""
    return [
        LossRecord(
            name="bco_pair",
            target="burnish_bco.loss:BCOPair",
            summary="chosen and rejected answers as a binary classification by their implicit rewards",
            paper="arXiv:2404.04656",
            data="preference",
            reduction="pair_mean",
            api=1,
        ),
        LossRecord(
            name="bco",
            target="burnish_bco.loss:BCO",
            summary="good and bad answers as a binary classification by their implicit rewards, shifted by their running mean",
            paper="arXiv:2404.04656",
            data="unpaired",
            reduction="sequence_mean",
            api=1,
        ),
    ]

"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on preference pairs."""
    return [
        LossRecord(
            name="nca_pair",
            target="burnish_nca.loss:NCAPair",
            summary="absolute likelihood of the chosen answer by noise contrast",
            paper="arXiv:2402.05369",
            data="preference",
            reduction="pair_mean",
            api=1,
        )
    ]

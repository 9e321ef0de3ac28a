"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on any data with targets."""
    return [
        LossRecord(
            name="dft",
            target="burnish_dft.loss:DFT",
            summary="negative log-likelihood of each token times its own probability",
            paper="arXiv:2508.05629",
            data="sequence",
            reduction="token_mean",
            api=1,
        )
    ]

"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on preference pairs."""
    return [
        LossRecord(
            name="beta_dpo",
            target="burnish_beta_dpo.loss:BetaDPO",
            summary="dpo with a beta that follows each pair's reward gap",
            paper="arXiv:2407.08639",
            data="preference",
            reduction="pair_mean",
            api=1,
        )
    ]

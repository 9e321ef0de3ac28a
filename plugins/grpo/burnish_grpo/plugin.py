"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on trajectories."""
    return [
        LossRecord(
            name="grpo",
            target="burnish_grpo.loss:GRPO",
            summary="clipped ratios times advantages, per token or per sequence",
            paper="arXiv:2402.03300",
            data="trajectory",
            reduction="token_mean",
            api=1,
        )
    ]

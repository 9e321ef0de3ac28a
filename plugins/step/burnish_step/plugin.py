"""What this package provides."""

from __future__ import annotations

from burnish import AdvantageRecord, hookimpl


@hookimpl
def burnish_advantages() -> list[AdvantageRecord]:
    """One advantage."""
    return [
        AdvantageRecord(
            name="step",
            target="burnish_step.advantage:StepRewards",
            summary="rewards of steps or turns, for their own tokens and those before",
            paper="arXiv:2402.03300",
            api=1,
        )
    ]

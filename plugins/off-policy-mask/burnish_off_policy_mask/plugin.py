"""What this package provides."""

from __future__ import annotations

from burnish import WeightRecord, hookimpl


@hookimpl
def burnish_weights() -> list[WeightRecord]:
    """One weight, for the terms of any policy loss."""
    return [
        WeightRecord(
            name="off_policy_mask",
            target="burnish_off_policy_mask.loss:OffPolicyMask",
            summary="leaves out bad sequences that the policy has moved away from",
            paper="arXiv:2512.02556",
            api=1,
        )
    ]

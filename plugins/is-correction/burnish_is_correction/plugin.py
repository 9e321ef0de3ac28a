"""What this package provides."""

from __future__ import annotations

from burnish import WeightRecord, hookimpl


@hookimpl
def burnish_weights() -> list[WeightRecord]:
    """One weight, for the terms of any policy loss."""
    return [
        WeightRecord(
            name="is_correction",
            target="burnish_is_correction.loss:ISCorrection",
            summary="tokens count as the policy, not the sampler, would have drawn them",
            api=1,
        )
    ]

"""What this package provides."""

from __future__ import annotations

from burnish import WeightRecord, hookimpl


@hookimpl
def burnish_weights() -> list[WeightRecord]:
    """One weight, for the terms of any policy loss."""
    return [
        WeightRecord(
            name="top_entropy",
            target="burnish_top_entropy.loss:TopEntropy",
            summary="only the tokens at which the policy is least certain",
            paper="arXiv:2506.01939",
            api=1,
        )
    ]

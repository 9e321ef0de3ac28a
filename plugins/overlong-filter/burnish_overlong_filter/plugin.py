"""What this package provides."""

from __future__ import annotations

from burnish import WeightRecord, hookimpl


@hookimpl
def burnish_weights() -> list[WeightRecord]:
    """One weight, for the terms of any policy loss."""
    return [
        WeightRecord(
            name="overlong_filter",
            target="burnish_overlong_filter.loss:OverlongFilter",
            summary="completions that were cut off do not count",
            paper="arXiv:2503.14476",
            api=1,
        )
    ]

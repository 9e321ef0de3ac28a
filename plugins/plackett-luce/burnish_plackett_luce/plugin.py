"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on ranked lists."""
    return [
        LossRecord(
            name="plackett_luce",
            target="burnish_plackett_luce.loss:PlackettLuce",
            summary="likelihood of a whole ranking under the Plackett-Luce model of implicit rewards",
            paper="arXiv:2305.18290",
            data="ranked",
            reduction="list_mean",
            api=1,
        )
    ]

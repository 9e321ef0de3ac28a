"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """Two losses on preference pairs, one on single answers marked good or bad."""
    return [
        LossRecord(
            name="apo_zero",
            target="burnish_apo.loss:APOZero",
            summary="raises chosen and lowers rejected answers, anchored at the reference",
            paper="arXiv:2408.06266",
            data="preference",
            reduction="pair_mean",
            api=1,
        ),
        LossRecord(
            name="apo_down",
            target="burnish_apo.loss:APODown",
            summary="lowers both answers, the rejected one more, anchored at the reference",
            paper="arXiv:2408.06266",
            data="preference",
            reduction="pair_mean",
            api=1,
        ),
        LossRecord(
            name="apo_zero_unpaired",
            target="burnish_apo.loss:APOZeroUnpaired",
            summary="raises good and lowers bad answers, anchored at the reference",
            paper="arXiv:2408.06266",
            data="unpaired",
            reduction="sequence_mean",
            api=1,
        ),
    ]

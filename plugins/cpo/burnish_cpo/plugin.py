"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, RecipeRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on preference pairs."""
    return [
        LossRecord(
            name="cpo",
            target="burnish_cpo.loss:CPO",
            summary="sigmoid, hinge or squared loss of the gap of log-probabilities; no reference",
            paper="arXiv:2401.08417",
            data="preference",
            reduction="pair_mean",
            api=1,
        )
    ]


@hookimpl
def burnish_recipes() -> list[RecipeRecord]:
    """The loss as it is usually run."""
    return [
        RecipeRecord(
            name="cpo",
            target="burnish_cpo.recipe:cpo",
            summary="cpo, and sft on the chosen answers (needs burnish-sft)",
            paper="arXiv:2401.08417",
            api=1,
        )
    ]

"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, RecipeRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on single answers marked good or bad."""
    return [
        LossRecord(
            name="kto",
            target="burnish_kto.loss:KTO",
            summary="value of single good or bad answers against a reference point",
            paper="arXiv:2402.01306",
            data="unpaired",
            reduction="sequence_mean",
            api=1,
        )
    ]


@hookimpl
def burnish_recipes() -> list[RecipeRecord]:
    """The loss as it is usually run."""
    return [
        RecipeRecord(
            name="kto",
            target="burnish_kto.recipe:kto",
            summary="Kahneman-Tversky optimisation",
            paper="arXiv:2402.01306",
            api=1,
        )
    ]

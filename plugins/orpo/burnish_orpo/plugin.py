"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, RecipeRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on preference pairs."""
    return [
        LossRecord(
            name="orpo",
            target="burnish_orpo.loss:ORPO",
            summary="logistic loss of the log odds ratio of mean log-probabilities; no reference",
            paper="arXiv:2403.07691",
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
            name="orpo",
            target="burnish_orpo.recipe:orpo",
            summary="sft on chosen conversations and, weighted by beta, orpo (needs burnish-sft)",
            paper="arXiv:2403.07691",
            api=1,
        )
    ]

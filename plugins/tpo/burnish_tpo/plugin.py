"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, RecipeRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """Two losses on preference pairs."""
    return [
        LossRecord(
            name="tpo",
            target="burnish_tpo.loss:TPO",
            summary="sigmoid, hinge or squared loss of the gap of log-probabilities, beside sft on a gold answer",
            paper="arXiv:2405.16681",
            data="preference",
            reduction="pair_mean",
            api=1,
        ),
        LossRecord(
            name="tpo_l",
            target="burnish_tpo.loss:TPOL",
            summary="logistic loss of the gap of mean log-probabilities above a margin, beside sft on a gold answer",
            paper="arXiv:2405.16681",
            data="preference",
            reduction="pair_mean",
            api=1,
        ),
    ]


@hookimpl
def burnish_recipes() -> list[RecipeRecord]:
    """The loss as it is usually run."""
    return [
        RecipeRecord(
            name="tpo",
            target="burnish_tpo.recipe:tpo",
            summary="tpo, and sft on the gold answers (needs burnish-sft)",
            paper="arXiv:2405.16681",
            api=1,
        ),
        RecipeRecord(
            name="tpo_l",
            target="burnish_tpo.recipe:tpo_l",
            summary="tpo_l, and sft on the gold answers (needs burnish-sft)",
            paper="arXiv:2405.16681",
            api=1,
        ),
    ]

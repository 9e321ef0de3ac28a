"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, RecipeRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on preference pairs."""
    return [
        LossRecord(
            name="simpo",
            target="burnish_simpo.loss:SimPO",
            summary="logistic loss of the gap of mean log-probabilities above a margin; no reference",
            paper="arXiv:2405.14734",
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
            name="simpo",
            target="burnish_simpo.recipe:simpo",
            summary="simple preference optimisation, without a reference",
            paper="arXiv:2405.14734",
            api=1,
        )
    ]

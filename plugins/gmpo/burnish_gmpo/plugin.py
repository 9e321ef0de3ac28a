"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, RecipeRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on trajectories."""
    return [
        LossRecord(
            name="gmpo",
            target="burnish_gmpo.loss:GMPO",
            summary="geometric mean of a sequence's clipped ratios",
            paper="arXiv:2507.20673",
            data="trajectory",
            reduction="sequence_mean",
            api=1,
        )
    ]


@hookimpl
def burnish_recipes() -> list[RecipeRecord]:
    """The loss with the advantages that belong to it (needs burnish-group)."""
    return [
        RecipeRecord(
            name="gmpo",
            target="burnish_gmpo.recipe:gmpo",
            summary="geometric-mean policy optimisation",
            paper="arXiv:2507.20673",
            api=1,
        ),
    ]

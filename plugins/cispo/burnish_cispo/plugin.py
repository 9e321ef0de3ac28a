"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, RecipeRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on trajectories."""
    return [
        LossRecord(
            name="cispo",
            target="burnish_cispo.loss:CISPO",
            summary="policy gradient weighed by capped, detached ratios",
            paper="arXiv:2506.13585",
            data="trajectory",
            reduction="token_mean",
            api=1,
        )
    ]


@hookimpl
def burnish_recipes() -> list[RecipeRecord]:
    """The loss with the advantages that belong to it (needs burnish-group)."""
    return [
        RecipeRecord(
            name="cispo",
            target="burnish_cispo.recipe:cispo",
            summary="clipped importance sampling policy optimisation",
            paper="arXiv:2506.13585",
            api=1,
        ),
    ]

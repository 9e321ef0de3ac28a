"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, RecipeRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on trajectories."""
    return [
        LossRecord(
            name="sapo",
            target="burnish_sapo.loss:SAPO",
            summary="a sigmoid of the ratio in place of clipping",
            paper="arXiv:2511.20347",
            data="trajectory",
            reduction="sequence_token_mean",
            api=1,
        )
    ]


@hookimpl
def burnish_recipes() -> list[RecipeRecord]:
    """The loss with the advantages that belong to it (needs burnish-group)."""
    return [
        RecipeRecord(
            name="sapo",
            target="burnish_sapo.recipe:sapo",
            summary="soft adaptive policy optimisation",
            paper="arXiv:2511.20347",
            api=1,
        ),
    ]

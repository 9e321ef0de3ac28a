"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, RecipeRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """Two losses on trajectories."""
    return [
        LossRecord(
            name="gspo",
            target="burnish_gspo.loss:GSPO",
            summary="one clipped ratio per sequence, the mean of its tokens'",
            paper="arXiv:2507.18071",
            data="trajectory",
            reduction="sequence_mean",
            api=1,
        ),
        LossRecord(
            name="gspo_token",
            target="burnish_gspo.loss:GSPOToken",
            summary="the sequence's ratio with a gradient, and an advantage, per token",
            paper="arXiv:2507.18071",
            data="trajectory",
            reduction="sequence_token_mean",
            api=1,
        ),
    ]


@hookimpl
def burnish_recipes() -> list[RecipeRecord]:
    """The loss with the advantages that belong to it (needs burnish-group)."""
    return [
        RecipeRecord(
            name="gspo",
            target="burnish_gspo.recipe:gspo",
            summary="group sequence policy optimisation",
            paper="arXiv:2507.18071",
            api=1,
        ),
    ]

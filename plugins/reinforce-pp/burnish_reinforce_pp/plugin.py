"""What this package provides."""

from __future__ import annotations

from burnish import AdvantageRecord, RecipeRecord, hookimpl


@hookimpl
def burnish_advantages() -> list[AdvantageRecord]:
    """One advantage."""
    return [
        AdvantageRecord(
            name="reinforce_pp",
            target="burnish_reinforce_pp.advantage:GloballyWhitened",
            summary="what is still to be earned, whitened over all tokens of the batch",
            paper="arXiv:2501.03262",
            api=1,
        )
    ]


@hookimpl
def burnish_recipes() -> list[RecipeRecord]:
    """The advantage with the loss that belongs to it (needs burnish-reinforce; with an epsilon, burnish-grpo)."""
    return [
        RecipeRecord(
            name="reinforce_pp",
            target="burnish_reinforce_pp.recipe:reinforce_pp",
            summary="REINFORCE++: policy gradient with advantages whitened over the batch",
            paper="arXiv:2501.03262",
            api=1,
        ),
    ]

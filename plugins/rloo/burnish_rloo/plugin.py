"""What this package provides."""

from __future__ import annotations

from burnish import AdvantageRecord, RecipeRecord, hookimpl


@hookimpl
def burnish_advantages() -> list[AdvantageRecord]:
    """One advantage."""
    return [
        AdvantageRecord(
            name="rloo",
            target="burnish_rloo.advantage:LeaveOneOut",
            summary="reward minus the mean of the group's other rewards",
            paper="arXiv:2402.14740",
            api=1,
        )
    ]


@hookimpl
def burnish_recipes() -> list[RecipeRecord]:
    """The advantage with the loss that belongs to it (needs burnish-grpo)."""
    return [
        RecipeRecord(
            name="rloo",
            target="burnish_rloo.recipe:rloo",
            summary="REINFORCE leave-one-out: whole answers against the others of their group",
            paper="arXiv:2402.14740",
            api=1,
        ),
    ]

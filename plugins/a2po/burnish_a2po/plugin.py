"""What this package provides."""

from __future__ import annotations

from burnish import AdvantageRecord, LossRecord, RecipeRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on trajectories."""
    return [
        LossRecord(
            name="a2po",
            target="burnish_a2po.loss:A2PO",
            summary="squared distance of the implicit reward from the optimal advantage",
            paper="arXiv:2505.20686",
            data="trajectory",
            reduction="sequence_mean",
            api=1,
        )
    ]


@hookimpl
def burnish_advantages() -> list[AdvantageRecord]:
    """The advantage that the loss regresses to."""
    return [
        AdvantageRecord(
            name="a2po",
            target="burnish_a2po.advantage:Optimal",
            summary="reward minus what the best policy near the reference earns",
            paper="arXiv:2505.20686",
            api=1,
        )
    ]


@hookimpl
def burnish_recipes() -> list[RecipeRecord]:
    """Loss and advantage, with the reference's samples that the latter needs."""
    return [
        RecipeRecord(
            name="a2po",
            target="burnish_a2po.recipe:a2po",
            summary="optimal advantage regression, one answer a prompt",
            paper="arXiv:2505.20686",
            api=1,
        )
    ]

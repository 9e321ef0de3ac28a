"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, RecipeRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on trajectories."""
    return [
        LossRecord(
            name="grpo",
            target="burnish_grpo.loss:GRPO",
            summary="clipped ratios times advantages, per token or per sequence",
            paper="arXiv:2402.03300",
            data="trajectory",
            reduction="token_mean",
            api=1,
        )
    ]


@hookimpl
def burnish_recipes() -> list[RecipeRecord]:
    """Loss, reduction and advantage that belong together (need burnish-group; `dapo` burnish-length, a beta burnish-kl)."""
    return [
        RecipeRecord(
            name="grpo",
            target="burnish_grpo.recipe:grpo",
            summary="group relative policy optimisation",
            paper="arXiv:2402.03300",
            api=1,
        ),
        RecipeRecord(
            name="dr_grpo",
            target="burnish_grpo.recipe:dr_grpo",
            summary="grpo without the division by lengths and by a group's spread",
            paper="arXiv:2503.20783",
            api=1,
        ),
        RecipeRecord(
            name="dapo",
            target="burnish_grpo.recipe:dapo",
            summary="grpo with a higher upper bound, dynamic sampling, token means and a soft limit of length",
            paper="arXiv:2503.14476",
            api=1,
        ),
    ]

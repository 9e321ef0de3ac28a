"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, RecipeRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on trajectories."""
    return [
        LossRecord(
            name="value",
            target="burnish_value.loss:ClippedValue",
            summary="squared distance of the value head from returns, clipped",
            paper="arXiv:1707.06347",
            data="trajectory",
            reduction="token_mean",
            api=1,
        )
    ]


@hookimpl
def burnish_recipes() -> list[RecipeRecord]:
    """Proximal policy optimisation (needs burnish-grpo and burnish-gae)."""
    return [
        RecipeRecord(
            name="ppo",
            target="burnish_value.recipe:ppo",
            summary="proximal policy optimisation, with a critic that shares the policy's layers",
            paper="arXiv:1707.06347",
            api=1,
        ),
    ]

"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, RecipeRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss, for any data that has targets."""
    return [
        LossRecord(
            name="sft",
            target="burnish_sft.loss:SFT",
            summary="negative log-likelihood of the target tokens",
            data="sequence",
            reduction="token_mean",
            api=1,
        )
    ]


@hookimpl
def burnish_recipes() -> list[RecipeRecord]:
    """The loss, with a learning rate for full fine-tuning."""
    return [RecipeRecord(name="sft", target="burnish_sft.recipe:sft", summary="supervised fine-tuning", api=1)]

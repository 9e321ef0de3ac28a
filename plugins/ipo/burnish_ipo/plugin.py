"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, RecipeRecord, hookimpl

PAPER = "arXiv:2310.12036"


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on preference pairs."""
    return [
        LossRecord(
            name="ipo",
            target="burnish_ipo.loss:IPO",
            summary="squared distance of the mean log-ratio gap from 1 / (2 beta)",
            paper=PAPER,
            data="preference",
            reduction="pair_mean",
            api=1,
        )
    ]


@hookimpl
def burnish_recipes() -> list[RecipeRecord]:
    """The loss, with a learning rate for full fine-tuning."""
    return [
        RecipeRecord(
            name="ipo", target="burnish_ipo.recipe:ipo", summary="identity preference optimisation", paper=PAPER, api=1
        )
    ]

"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, RecipeRecord, hookimpl

PAPER = "arXiv:2306.13649"


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss, for any data that has targets."""
    return [
        LossRecord(
            name="divergence",
            target="burnish_distill.loss:Divergence",
            summary="forward, reverse or generalised Jensen-Shannon divergence from a teacher's distribution, token by token",
            paper=PAPER,
            data="sequence",
            reduction="token_mean",
            api=1,
        )
    ]


@hookimpl
def burnish_recipes() -> list[RecipeRecord]:
    """The loss on given answers, with a learning rate for full fine-tuning."""
    return [
        RecipeRecord(
            name="distill",
            target="burnish_distill.recipe:distill",
            summary="distillation on given answers; say `teacher.model` too",
            paper=PAPER,
            api=1,
        )
    ]

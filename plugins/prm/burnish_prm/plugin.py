"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, RecipeRecord, RewardRecord, hookimpl

PAPER = "arXiv:2211.14275"


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on solutions whose steps are marked."""
    return [
        LossRecord(
            name="prm",
            target="burnish_prm.loss:PRM",
            summary="is this step right? cross-entropy at the last token of every step",
            paper=PAPER,
            data="stepwise",
            reduction="token_mean",
            targets="steps",
            api=1,
        )
    ]


@hookimpl
def burnish_rewards() -> list[RewardRecord]:
    """A trained process reward model as a reward."""
    return [
        RewardRecord(
            name="prm",
            target="burnish_prm.reward:ProcessReward",
            summary="the product, minimum, last or mean of the probabilities that a completion's steps are right",
            api=1,
        )
    ]


@hookimpl
def burnish_recipes() -> list[RecipeRecord]:
    """The loss, with a learning rate for full fine-tuning."""
    return [
        RecipeRecord(
            name="prm", target="burnish_prm.recipe:prm", summary="a process reward model from marked steps", paper=PAPER, api=1
        )
    ]

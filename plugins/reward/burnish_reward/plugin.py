"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, RecipeRecord, RewardRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on preference pairs, two on rated answers; all read one score at the end of the sequence."""
    return [
        LossRecord(
            name="bradley_terry",
            target="burnish_reward.loss:BradleyTerry",
            summary="the chosen answer's score exceeds the rejected one's",
            paper="arXiv:2203.02155",
            data="preference",
            reduction="pair_mean",
            targets="end",
            api=1,
        ),
        LossRecord(
            name="regression",
            target="burnish_reward.loss:Regression",
            summary="the score is the rating: squared error",
            data="rated",
            reduction="sequence_mean",
            targets="end",
            api=1,
        ),
        LossRecord(
            name="ordinal",
            target="burnish_reward.loss:Ordinal",
            summary="the score orders the ratings: a cumulative logit model",
            paper="doi:10.1111/j.2517-6161.1980.tb01109.x",
            data="rated",
            reduction="sequence_mean",
            targets="end",
            api=1,
        ),
    ]


@hookimpl
def burnish_rewards() -> list[RewardRecord]:
    """A trained reward model as a reward."""
    return [
        RewardRecord(
            name="reward_model",
            target="burnish_reward.reward:RewardModel",
            summary="the score that a reward model, or the mean of several, gives a completion",
            api=1,
        )
    ]


@hookimpl
def burnish_recipes() -> list[RecipeRecord]:
    """The loss on pairs, with a learning rate for full fine-tuning."""
    return [
        RecipeRecord(
            name="reward",
            target="burnish_reward.recipe:reward",
            summary="a reward model from preferences",
            paper="arXiv:2203.02155",
            api=1,
        )
    ]

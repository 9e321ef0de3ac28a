"""What this package provides."""

from __future__ import annotations

from burnish import LossRecord, RecipeRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """One loss on preference pairs."""
    return [
        LossRecord(
            name="dpo",
            target="burnish_dpo.loss:DPO",
            summary="logistic loss of the difference of implicit rewards, with label smoothing",
            paper="arXiv:2305.18290",
            data="preference",
            reduction="pair_mean",
            api=1,
        )
    ]


@hookimpl
def burnish_recipes() -> list[RecipeRecord]:
    """The loss alone, and beside maximum likelihood of the chosen answers."""
    return [
        RecipeRecord(
            name="dpo",
            target="burnish_dpo.recipe:dpo",
            summary="direct preference optimisation",
            paper="arXiv:2305.18290",
            api=1,
        ),
        RecipeRecord(
            name="cdpo",
            target="burnish_dpo.recipe:cdpo",
            summary="conservative dpo: a tenth of the preferences may be wrong",
            paper="arXiv:2305.18290",
            api=1,
        ),
        RecipeRecord(
            name="tr_dpo",
            target="burnish_dpo.recipe:tr_dpo",
            summary="trust-region dpo: the reference is mixed with the policy every so many steps",
            paper="arXiv:2404.09656",
            api=1,
        ),
        RecipeRecord(
            name="bema_dpo",
            target="burnish_dpo.recipe:bema_dpo",
            summary="dpo whose reference is a bias-corrected moving average of the policy",
            paper="arXiv:2508.00180",
            api=1,
        ),
        RecipeRecord(
            name="rpo",
            target="burnish_dpo.recipe:rpo",
            summary="dpo, and sft on the chosen answers (needs burnish-sft)",
            paper="arXiv:2404.19733",
            api=1,
        ),
        RecipeRecord(
            name="mpo",
            target="burnish_dpo.recipe:mpo",
            summary="mixed preference optimisation: dpo, bco_pair and sft (needs burnish-bco and burnish-sft)",
            paper="arXiv:2411.10442",
            api=1,
        ),
    ]

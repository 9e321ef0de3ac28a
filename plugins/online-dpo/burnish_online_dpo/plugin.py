"""What this package provides."""

from __future__ import annotations

from burnish import AdvantageRecord, LossRecord, RecipeRecord, hookimpl


@hookimpl
def burnish_losses() -> list[LossRecord]:
    """Two losses on pairs of samples, one on samples alone."""
    return [
        LossRecord(
            name="online_dpo",
            target="burnish_online_dpo.loss:OnlineDPO",
            summary="dpo or ipo on two samples of the policy, the better rewarded one chosen",
            paper="arXiv:2402.04792",
            data="preference",
            reduction="pair_mean",
            api=1,
        ),
        LossRecord(
            name="xpo",
            target="burnish_online_dpo.loss:XPO",
            summary="the same between policy and reference, which is then made less likely",
            paper="arXiv:2405.21046",
            data="preference",
            reduction="pair_mean",
            api=1,
        ),
        LossRecord(
            name="nash_md",
            target="burnish_online_dpo.nash:NashMD",
            summary="policy gradient of winning against a mixture, with a divergence from the reference",
            paper="arXiv:2312.00886",
            data="trajectory",
            reduction="sequence_mean",
            api=1,
        ),
    ]


@hookimpl
def burnish_advantages() -> list[AdvantageRecord]:
    """One advantage."""
    return [
        AdvantageRecord(
            name="nash_md",
            target="burnish_online_dpo.nash:Win",
            summary="how probably a completion wins against its opponents, less one half",
            paper="arXiv:2312.00886",
            api=1,
        )
    ]


@hookimpl
def burnish_recipes() -> list[RecipeRecord]:
    """Loss, and how its pairs or opponents are drawn."""
    return [
        RecipeRecord(
            name="online_dpo",
            target="burnish_online_dpo.recipe:online_dpo",
            summary="preference optimisation on pairs of the policy's own samples",
            paper="arXiv:2402.04792",
            api=1,
        ),
        RecipeRecord(
            name="xpo",
            target="burnish_online_dpo.recipe:xpo",
            summary="exploratory preference optimisation: own samples against the reference's",
            paper="arXiv:2405.21046",
            api=1,
        ),
        RecipeRecord(
            name="nash_md",
            target="burnish_online_dpo.recipe:nash_md",
            summary="Nash learning by mirror descent: own samples against those of a mixture with the reference",
            paper="arXiv:2312.00886",
            api=1,
        ),
    ]

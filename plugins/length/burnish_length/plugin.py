"""What this package provides."""

from __future__ import annotations

from burnish import RewardRecord, hookimpl


@hookimpl
def burnish_rewards() -> list[RewardRecord]:
    """Three rewards that read token ids."""
    return [
        RewardRecord(
            name="soft_overlong",
            target="burnish_length.reward:SoftOverlong",
            summary="0 up to a length, then down to -1 at the longest that is allowed",
            api=1,
        ),
        RewardRecord(
            name="cosine_length",
            target="burnish_length.reward:CosineLength",
            summary="right answers earn more when short, wrong ones lose less when long",
            api=1,
        ),
        RewardRecord(
            name="repetition",
            target="burnish_length.reward:Repetition",
            summary="the share of n-grams that were there before, times a penalty",
            api=1,
        ),
    ]

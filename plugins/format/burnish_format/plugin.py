"""What this package provides."""

from __future__ import annotations

from burnish import RewardRecord, hookimpl


@hookimpl
def burnish_rewards() -> list[RewardRecord]:
    """Three rewards that read text."""
    return [
        RewardRecord(
            name="format_tags",
            target="burnish_format.reward:Tags",
            summary="1 where each tag opens and closes once, in order",
            api=1,
        ),
        RewardRecord(
            name="format_regex",
            target="burnish_format.reward:Regex",
            summary="1 where the completion matches a regular expression",
            processes=1,  # some expressions take longer than the universe lasts
            time_limit=5.0,
            api=1,
        ),
        RewardRecord(
            name="format_json",
            target="burnish_format.reward:Json",
            summary="1 where the completion is JSON that keeps to a schema",
            api=1,
        ),
    ]

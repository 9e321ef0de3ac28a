"""Advantages relative to the group: the formula."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from burnish import Groups, Ragged

EPSILON = 1e-4


@dataclass(frozen=True, kw_only=True)
class GroupRelative:
    """Group-relative advantage.

        A = (r - mean(r of the group)) / (std + 1e-4)          std: n - 1 in the denominator

    std is that of the group (`scale: group`), that of all rewards of the rollout batch (`batch`, arXiv:2508.08221), or the
    divisor is left out (`none`, Dr. GRPO, arXiv:2503.20783).
    Source: Shao et al. 2024, arXiv:2402.03300, section 4.1. Deviations: 1e-4 beside the standard deviation, as in TRL, so that
    rewards which hardly differ weigh little.
    Shapes: r, A are ragged, [completions] in [groups]. Units: standard deviations; with `none`, those of r.
    Degenerate: a group of one, or of equal rewards, gives exactly 0.
    """

    scale: Literal["group", "batch", "none"] = "group"
    """Whose standard deviation a difference is measured by."""

    def __post_init__(self) -> None:
        if self.scale not in ("group", "batch", "none"):
            raise ValueError(f"scale must be 'group', 'batch' or 'none', got {self.scale!r}")

    def __call__(self, groups: Groups) -> Ragged:
        """One advantage per completion."""
        rewards = groups.rewards
        if self.scale == "group":
            return rewards.standardised(EPSILON)
        if self.scale == "batch":
            return rewards.centred() / (float(rewards.joined().std()) + EPSILON)
        return rewards.centred()

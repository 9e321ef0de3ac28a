"""Advantages against the length-weighted mean of the group: the formula."""

from __future__ import annotations

from dataclasses import dataclass

from burnish import Groups, Ragged


@dataclass(frozen=True, kw_only=True)
class OptimalBaseline:
    """Advantage against the baseline of least variance.

        A = r - sum(|y| r) / sum(|y|)          sums over the group; |y| tokens of a completion

    The weight of a reward is the squared norm of its completion's gradient, taken to grow with its length.
    Source: Hao et al. 2025, arXiv:2505.23585, eq. 8. Deviations: none.
    Shapes: r, |y|, A are ragged, [completions] in [groups]. Units: those of r.
    Degenerate: a group of one, or of equal rewards, gives exactly 0.
    """

    def __call__(self, groups: Groups) -> Ragged:
        """One advantage per completion."""
        rewards, lengths = groups.rewards, groups.lengths
        moved = rewards - rewards.per_token(rewards.first())  # so that equal rewards give exactly 0
        return moved - moved.per_token((lengths * moved).sum() / lengths.sum().clamp(min=1))

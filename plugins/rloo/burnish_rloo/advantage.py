"""Advantages against the others of the group: the formula."""

from __future__ import annotations

from dataclasses import dataclass

from burnish import Groups, Ragged

EPSILON = 1e-4


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut:
    """REINFORCE leave-one-out.

        A = r - mean(r of the group's other completions) = n / (n - 1) (r - mean(r of the group))

    Source: Ahmadian et al. 2024, arXiv:2402.14740, section 3.3. Deviations: none.
    Shapes: r, A are ragged, [completions] in [groups]; n completions a group. Units: those of r.
    Degenerate: a group of one, or of equal rewards, gives exactly 0.
    """

    normalize: bool = False
    """Divide by the standard deviation of all advantages of the rollout batch, whose mean is 0."""

    def __call__(self, groups: Groups) -> Ragged:
        """One advantage per completion."""
        sizes = groups.rewards.lengths
        advantages = groups.rewards.centred()
        advantages = advantages * advantages.per_token(sizes / (sizes - 1).clamp(min=1))
        return advantages / (float(advantages.joined().std()) + EPSILON) if self.normalize else advantages

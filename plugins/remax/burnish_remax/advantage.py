"""Advantages against the most likely completion: the formula."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from burnish import Groups, Ragged


@dataclass(frozen=True, kw_only=True)
class AgainstGreedy:
    """ReMax.

        A = r - r(greedy completion of the same prompt)

    Source: Li et al. 2023, arXiv:2310.10505, eq. 5. Deviations: none.
    Shapes: r, A are ragged, [completions] in [groups]; one greedy completion a group, drawn for it. Units: those of r.
    Degenerate: a reward that equals the greedy completion's gives 0. Unlike advantages within the group, a group of one or of
    equal rewards says something here: that sampling is better, or worse, than the policy's best guess.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"greedy"})

    def __call__(self, groups: Groups) -> Ragged:
        """One advantage per completion."""
        return groups.rewards - groups.rewards.per_token(groups.need("greedy"))

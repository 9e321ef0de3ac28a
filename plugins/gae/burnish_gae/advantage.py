"""Generalised advantage estimation: the formula."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from burnish import Groups, Ragged

EPSILON = 1e-8


@dataclass(frozen=True, kw_only=True)
class GAE:
    """Generalised advantage estimation.

        d_t = r_t + gamma V_{t+1} - V_t          r_t: what the token earned; the last one earns the completion's reward as well
        A_t = sum over n >= 0 of (gamma lam)^n d_{t+n}
        returns: A_t + V_t, what the value head learns

    V_t is the value before token t; after the last one it is 0. Then A is whitened, over all tokens of the rollout batch:
    (A - mean) / sqrt(var + 1e-8), n - 1 in the variance; the returns are not.
    Source: Schulman et al. 2015, arXiv:1506.02438, eq. 16. Deviations: none; a truncated completion ends like any other.
    Shapes: r_t, V, A [tokens] in [completions]. Units: standard deviations; unwhitened and returns, those of the rewards.
    Degenerate: values that foresee everything give 0. Groups play no part: a group of one is as good as another.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"values", "token_rewards"})

    gamma: float = 1.0
    """How much less a reward counts one token further away; 0 to 1."""
    lam: float = 0.95
    """0 trusts the value head, 1 the rewards alone; 0 to 1."""
    whiten: bool = True
    """Give the advantages of a rollout batch mean 0 and variance 1."""

    def __post_init__(self) -> None:
        for name, value in (("gamma", self.gamma), ("lam", self.lam)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {value}")

    def __call__(self, groups: Groups) -> Ragged:
        """One advantage per token."""
        advantages = self._unwhitened(groups)
        if not self.whiten:
            return advantages
        whole = advantages.joined()
        white = whole.centred() * whole.per_token((whole.var() + EPSILON).rsqrt())
        return Ragged(white.values, advantages.lengths)

    def returns(self, groups: Groups) -> Ragged:
        """What the value head learns, per token."""
        values: Ragged = groups.need("values")
        return self._unwhitened(groups) + values

    def _unwhitened(self, groups: Groups) -> Ragged:
        values: Ragged = groups.need("values")
        earned: Ragged = groups.need("token_rewards")
        surprise = earned + earned.at_last(groups.rewards.values) + self.gamma * values.next() - values
        return surprise.discounted_sum(self.gamma * self.lam)

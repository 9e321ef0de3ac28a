"""Nash learning by mirror descent: the loss, and the advantage that goes with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from burnish import Groups, Ragged
from burnish.errors import RewardError
from burnish.model.signals import Signal, entropy, logp
from burnish.objective import Metric, Sequences, Terms


@dataclass(frozen=True, kw_only=True)
class Win:
    """How much better than even a completion's chances are against its opponents.

        A = mean over opponents of P(y beats y') - 1/2
        P = sigmoid(r(y) - r(y'))                          preference `sigmoid`: Bradley and Terry
        P = 1 where r(y) > r(y'), 1/2 where equal, else 0  preference `hard`

    Source: Munos et al. 2023, arXiv:2312.00886, section 7.1, where 1/2 is the control variate. Deviations: none.
    Shapes: A is [completions] in [groups], opponents [opponents] in [groups]. Units: probabilities, -1/2 to 1/2.
    Degenerate: equal rewards give exactly 0; so does a prompt whose opponents all failed.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"opponents"})

    preference: Literal["sigmoid", "hard"] = "sigmoid"
    """How rewards become a preference."""

    def __post_init__(self) -> None:
        if self.preference not in ("sigmoid", "hard"):
            raise ValueError(f"preference must be 'sigmoid' or 'hard', got {self.preference!r}")

    def __call__(self, groups: Groups) -> Ragged:
        """One advantage per completion."""
        theirs: Ragged = groups.need("opponents")
        if not len(theirs.values):
            raise RewardError("nash_md: no completion has an opponent; write `rollout.opponents`")
        mine = torch.split(groups.rewards.values, groups.rewards.lengths.tolist())
        others = torch.split(theirs.values, theirs.lengths.tolist())
        return groups.rewards.map(lambda _: torch.cat([self._of(one, two) for one, two in zip(mine, others, strict=True)]))

    def _of(self, mine: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
        if not len(theirs):
            return torch.zeros_like(mine)
        gap = mine[:, None] - theirs[None, :]
        chance = gap.sigmoid() if self.preference == "sigmoid" else (gap.sign() + 1) / 2
        return chance.mean(1) - 0.5


@dataclass(frozen=True, kw_only=True)
class NashMD:
    """Nash learning from preferences by mirror descent: win against a mixture of oneself and the reference, and stay near it.

        L = sum(-A lp + beta sg(lp - lr) lp)               lp: policy, lr: reference, nats, over target tokens

    A, of the whole sample, is P(win) - 1/2 against a sample of the geometric mixture (advantage `nash_md`); the second term has
    the gradient of the divergence from the reference, as far as each token's own log-ratio goes.
    Source: Munos et al. 2023, arXiv:2312.00886, section 7 (Nash-MD-PG). Deviations: none; as in TRL, the divergence is
    estimated by each token's log-ratio times its own score. Right on fresh samples only: one step on a rollout batch.
    Shapes: A, lp are [tokens], L is [sequences], one sample each. Reduction: sequence_mean, over samples, which is over pairs.
    Degenerate: a sample that is certain and stays where the reference is gives 0.
        >>> L(certain, beta=0.0) == 0
    """

    beta: float = 0.1
    """Weight of the divergence from the reference; at least 0."""

    def __post_init__(self) -> None:
        if not self.beta >= 0:
            raise ValueError(f"beta must be at least 0, got {self.beta}")

    def signals(self) -> frozenset[Signal]:
        """The policy's and the reference's log-probabilities; the entropy for its metric."""
        return frozenset({logp(), logp("reference"), entropy()})

    def __call__(self, batch: Sequences) -> Terms:
        """One term per sequence."""
        apart, advantages = batch.log_ratio.detach(), batch.field("advantages")
        loss = ((self.beta * apart - advantages) * batch.logp).sum()
        metrics = {"kl": Metric(apart), "entropy": Metric(batch.signal(entropy())), "win_margin": Metric(advantages.mean())}
        return Terms(sequence=loss, metrics=metrics)

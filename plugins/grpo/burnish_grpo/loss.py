"""Group relative policy optimisation: the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from burnish.model.signals import Signal, entropy, logp
from burnish.objective import Metric, Ragged, Sequences, Terms, check_clip, clip_metrics, clipped, ratio_of


@dataclass(frozen=True, kw_only=True)
class GRPO:
    """Group relative policy optimisation: PPO's clipped surrogate, on advantages that need no value model.

        L = -min(min(rho, delta) A, clip(rho, 1 - epsilon, 1 + epsilon_high) A)
        rho = exp(lp - lo)                                 level `token`          lp: policy, lo: policy at the rollout, nats
        rho = exp(sum of lp - lo over the sequence)        level `sequence_sum`   as RLOO has it (arXiv:2402.14740)
        rho = exp(mean of lp - lo over the sequence)       level `sequence_mean`  as GSPO has it (arXiv:2507.18071)

    Source: Shao et al. 2024, arXiv:2402.03300, eq. 3; clip-higher and token_mean from DAPO, arXiv:2503.14476; delta (dual
    clipping) from arXiv:1912.09729. Deviations: no KL inside, put a part `kl` beside it; exponents are at most 80.
    Shapes: rho, A, L are [tokens]; at the sequence levels L is [sequences], the mean over the tokens, each with its own A.
    Reduction: token_mean (DAPO); `sequence_token_mean` is GRPO's own, `constant(N)` Dr. GRPO's with N the longest completion.
    At the sequence levels sequence_mean.
    Degenerate: an unmoved policy gives -A. Beyond the clip bound that A pushes to, there is no gradient.
        >>> L(unmoved) == -A
        >>> L(unmoved, level="sequence_mean") == -A
    """

    epsilon: float = 0.2
    """How far the ratio may fall below 1; in [0, 1)."""
    epsilon_high: float | None = None
    """How far the ratio may rise above 1; at least 0; null for epsilon. DAPO has .28."""
    delta: float | None = None
    """Largest ratio where the advantage is negative; above 1 + epsilon_high; null for none."""
    level: Literal["token", "sequence_sum", "sequence_mean"] = "token"
    """Whether each token has a ratio of its own, or the sequence has one."""

    def __post_init__(self) -> None:
        check_clip(self.epsilon, self.epsilon_high, self.delta)

    @property
    def reduction(self) -> str:
        """Terms per sequence are averaged over sequences."""
        return "token_mean" if self.level == "token" else "sequence_mean"

    def signals(self) -> frozenset[Signal]:
        """Log-probabilities now and at the rollout; the entropy for its metric."""
        return frozenset({logp(), logp("old"), entropy()})

    def __call__(self, batch: Sequences) -> Terms:
        """One term per token, or per sequence."""
        high = self.epsilon if self.epsilon_high is None else self.epsilon_high
        ratio, advantages = ratio_of(self._log_ratio(batch)), batch.field("advantages")
        loss = clipped(ratio, advantages, self.epsilon, high, self.delta)
        metrics = clip_metrics(ratio, advantages, self.epsilon, high, per_sequence=self.level != "token")
        metrics |= {"entropy": Metric(batch.signal(entropy()))}
        if self.level == "token":
            return Terms(token=loss, metrics=metrics)
        return Terms(sequence=loss.mean(), metrics=metrics)

    def _log_ratio(self, batch: Sequences) -> Ragged:
        """What rho is e to the power of, at every token."""
        moved = batch.logp - batch.signal(logp("old"))
        if self.level == "token":
            return moved
        return moved.per_token(moved.sum() if self.level == "sequence_sum" else moved.mean())

"""The implicit reward that preference losses are built on, with the options that all of them share, and the metrics of pairs.

In: pairs. Out: one number per completion. Written once here, so that a loss's formula starts from `r`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from burnish.model.signals import Signal, entropy, logp, mean_logit, top1
from burnish.objective.ragged import Ragged
from burnish.objective.terms import Metric
from burnish.objective.views import Pairs, Sequences, View

Divergence = Literal["reverse_kl", "forward_kl", "js", "alpha"]
MAX_EXPONENT = 80.0  # exp stays representable in float32

TOKEN_METRICS = frozenset({entropy(), top1()})
PAIR_METRICS = TOKEN_METRICS | {mean_logit()}


@dataclass(frozen=True, kw_only=True)
class SequenceReward:
    """What a policy's log-probabilities say a completion is worth.

        r = sum over target tokens of lp - lr           lp: policy, lr: reference, nats

    reference_free: takes lr = 0. f_divergence: puts f'(e^r) of another f-divergence in the place of r (arXiv:2309.16240):
    `forward_kl` 1 - e^-r; `js` log 2 + log sigmoid(r); `alpha` (e^((f_alpha - 1) r) - 1) / (f_alpha - 1); exponents at most 80.
    Degenerate: policy == reference gives 0 for every completion.
    """

    reference_free: bool = False
    f_divergence: Divergence = "reverse_kl"
    f_alpha: float = 0.5

    def signals(self) -> frozenset[Signal]:
        """What is read of a completion, by the metrics too."""
        return PAIR_METRICS | {logp()} | (frozenset() if self.reference_free else {logp("reference")})

    def of(self, view: View) -> Tensor:
        """Rewards of completions: [S], nats."""
        return self._score(self._tokens(view).sum())

    def _tokens(self, view: View) -> Ragged:
        return view.logp if self.reference_free else view.log_ratio

    def _score(self, r: Tensor) -> Tensor:
        if self.f_divergence == "forward_kl":
            return -torch.expm1((-r).clamp(max=MAX_EXPONENT))
        if self.f_divergence == "js":
            return math.log(2) + logsigmoid(r)
        if self.f_divergence == "alpha" and self.f_alpha != 1:  # the limit at 1 is r itself
            return torch.expm1(((self.f_alpha - 1) * r).clamp(max=MAX_EXPONENT)) / (self.f_alpha - 1)
        return r


@dataclass(frozen=True, kw_only=True)
class ImplicitReward(SequenceReward):
    """What the completions of a pair are worth: their `SequenceReward`, and one option that compares them.

    ld_alpha: tokens beyond the shorter completion's length count this much (LD-DPO, arXiv:2409.06411); 1 counts all alike.
    """

    ld_alpha: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.ld_alpha <= 1:
            raise ValueError(f"ld_alpha must lie in [0, 1], got {self.ld_alpha}")

    def pair(self, batch: Pairs) -> tuple[Tensor, Tensor]:
        """Rewards of the chosen and the rejected completions: [pairs] each, nats."""
        if self.ld_alpha == 1:
            return self.of(batch.chosen), self.of(batch.rejected)
        shorter = torch.minimum(batch.chosen.lengths, batch.rejected.lengths)
        chosen, rejected = self._tokens(batch.chosen), self._tokens(batch.rejected)
        sums = ((tokens * _desensitised(tokens, shorter, self.ld_alpha)).sum() for tokens in (chosen, rejected))
        r_w, r_l = map(self._score, sums)
        return r_w, r_l


def _desensitised(tokens: Ragged, shorter: Tensor, ld_alpha: float) -> Ragged:
    return tokens.map(
        lambda _, offset, end: torch.where(offset < end, 1.0, ld_alpha).to(_), tokens.offset, tokens.per_token(shorter)
    )


def token_metrics(*views: View, accuracy_of: View) -> dict[str, Metric]:
    """`entropy` over all `views` and `mean_token_accuracy` over one of them; for losses that declare TOKEN_METRICS."""
    return {
        "entropy": Metric(torch.cat([view.signal(entropy()).values for view in views])),
        "mean_token_accuracy": Metric(accuracy_of.signal(top1())),
    }


def unpaired_metrics(batch: Sequences, rewards: Tensor, good: Tensor) -> dict[str, Metric]:
    """What dashboards know of single completions marked good (1) or bad (0), [S]; for losses that declare PAIR_METRICS."""
    metrics = {}
    for name, weights in (("chosen", good), ("rejected", 1 - good)):
        metrics[f"rewards/{name}"] = Metric(rewards, weights)
        metrics[f"logps/{name}"] = Metric(batch.logp.sum(), weights)
        metrics[f"logits/{name}"] = Metric(batch.signal(mean_logit()), batch.logp.per_token(weights))
    return metrics | token_metrics(batch, accuracy_of=batch)


def pair_metrics(batch: Pairs, chosen: Tensor, rejected: Tensor) -> dict[str, Metric]:
    """What dashboards know of pairs, from both sides' rewards [pairs]; for losses that declare PAIR_METRICS."""
    metrics = {
        "rewards/chosen": Metric(chosen),
        "rewards/rejected": Metric(rejected),
        "rewards/margins": Metric(chosen - rejected),
        "rewards/accuracies": Metric((chosen > rejected).to(chosen)),
    }
    for name, view in (("chosen", batch.chosen), ("rejected", batch.rejected)):
        metrics[f"logps/{name}"] = Metric(view.logp.sum())
        metrics[f"logits/{name}"] = Metric(view.signal(mean_logit()))
    return metrics | token_metrics(batch.chosen, batch.rejected, accuracy_of=batch.chosen)

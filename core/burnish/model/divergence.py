"""How far two next-token distributions are apart, for a tile of positions.

In: logits of the policy, and of the model beside it or what the sampler said of a few tokens. Out: one number per position;
with a model beside it, a gradient for the policy. Shapes: n positions, V and V' the two vocabularies, K the tokens that are
compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from burnish.model.signals import Between, Signal

LOWEST = -1e4  # exp of it is 0 in every precision, and 0 * LOWEST is 0 where 0 * -inf would be NaN
LEAST = 1e-12  # probability of all other tokens, below which a difference of 1 and a sum is rounding


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """What the sampler said of n tokens that it drew. ids: [n, 1 + K], the token itself, then the likeliest others, likeliest
    first, -1 where there is none; logps: [n, 1 + K], nats, under the distribution that it drew from."""

    ids: Tensor
    logps: Tensor

    def cut(self, part: slice) -> Sampled:
        """Of some of them."""
        return Sampled(self.ids[part], self.logps[part])

    def row(self) -> Sampled:
        """One row of zeros."""
        return Sampled(*(numbers.new_zeros(1, numbers.shape[-1]) for numbers in (self.ids, self.logps)))

    def narrowed(self, top_k: int) -> Sampled:
        """With no more than so many of the likeliest."""
        return Sampled(self.ids[:, : 1 + top_k], self.logps[:, : 1 + top_k])


def divergence_of(logits: Tensor, teacher: Tensor, signal: Signal) -> Tensor:
    """D(p, q) at every position: [n], nats; p of the policy's `logits` [n, V], q of the teacher's [n, V'], both as they are.

    Padding at the end of a larger vocabulary is cut off. Parameters of the signal: beta, top_k, tail (see `divergence`).
    """
    options = dict(signal.parameters)
    size = min(logits.shape[-1], teacher.shape[-1])
    logits, teacher = logits[:, :size], teacher[:, :size]
    top_k = int(options["top_k"])
    if 0 < top_k < size:
        likely = teacher.topk(top_k).indices
        logits, teacher = (_narrowed(each, likely, bool(options["tail"])) for each in (logits, teacher))
    value: Tensor = _Divergence.apply(logits, teacher, float(options["beta"]))  # type: ignore[no-untyped-call]
    return value


def _narrowed(logits: Tensor, tokens: Tensor, tail: bool) -> Tensor:
    """Logits whose softmax is the distribution over `tokens` [n, K] alone or, with `tail`, over them and all others as one."""
    kept = logits.gather(-1, tokens)
    if not tail:
        return kept
    others = logits.scatter(-1, tokens, -torch.inf).logsumexp(-1, keepdim=True)
    return torch.cat([kept, others], dim=-1)


def sampler_divergence_of(logits: Tensor, logsumexp: Tensor, sampled: Sampled, between: Between) -> Tensor:
    """D(q, p) at every position: [n]; p of the policy's `logits` [n, V], normalised by `logsumexp` [n], q of the sampler, over
    the tokens of `sampled` and all others as one outcome."""
    missing = sampled.ids < 0
    log_p = logits.gather(-1, sampled.ids.clamp(min=0)) - logsumexp[:, None]
    log_p, log_q = (_with_others(each.masked_fill(missing, LOWEST)) for each in (log_p, sampled.logps.to(logits)))
    return _kl(log_q, log_p) if between == "kl" else (log_p.exp() - log_q.exp()).abs().sum(-1) / 2


def _with_others(logp: Tensor) -> Tensor:
    """Log-probabilities [n, K] of some tokens, and that of all others: [n, K + 1]."""
    others = (1 - logp.exp().sum(-1, keepdim=True)).clamp(min=LEAST).log()
    return torch.cat([logp, others], dim=-1).clamp_min_(LOWEST)


class _Divergence(torch.autograd.Function):
    """beta KL(q || m) + (1 - beta) KL(p || m), m = beta q + (1 - beta) p; KL(q || p) and KL(p || q) at beta 0, 1.

    With g_j = dD/dp_j up to a constant, dD/dl_j = p_j (g_j - sum p g): g = (1 - beta) log(p / m), or log(p / q) at beta = 1;
    at beta = 0 it is p_j - q_j.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, teacher: Tensor, beta: float) -> Tensor:
        ctx.save_for_backward(logits, teacher)
        ctx.beta = beta
        log_p, log_q = _log_softmax(logits), _log_softmax(teacher)
        if beta == 0:
            return _kl(log_q, log_p)
        if beta == 1:
            return _kl(log_p, log_q)
        log_m = _mixture(log_p, log_q, beta)
        return beta * _kl(log_q, log_m) + (1 - beta) * _kl(log_p, log_m)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (logits, teacher), [grad], beta = ctx.saved_tensors, grads, ctx.beta
        log_p, log_q = _log_softmax(logits), _log_softmax(teacher)
        p = log_p.exp()
        if beta == 0:
            return (p - log_q.exp()).mul_(grad[:, None]), None, None
        slope = log_p - log_q if beta == 1 else (1 - beta) * (log_p - _mixture(log_p, log_q, beta))
        slope -= torch.linalg.vecdot(p, slope)[:, None]
        return slope.mul_(p).mul_(grad[:, None]), None, None


def _kl(log_a: Tensor, log_b: Tensor) -> Tensor:
    """KL(a || b) of every row: [n]."""
    distance: Tensor = torch.linalg.vecdot(log_a.exp(), log_a - log_b)
    return distance


def _log_softmax(logits: Tensor) -> Tensor:
    return logits.log_softmax(-1).clamp_min_(LOWEST)


def _mixture(log_p: Tensor, log_q: Tensor, beta: float) -> Tensor:
    """log(beta q + (1 - beta) p)."""
    return torch.logaddexp(log_q + math.log(beta), log_p + math.log1p(-beta))

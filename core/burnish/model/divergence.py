"""How far two next-token distributions are apart, for a tile of positions: value and gradient, from logits alone.

In: logits of the policy and of the model beside it. Out: one number per position, with a gradient for the policy. Shapes: n
positions, V and V' the two vocabularies, K the tokens that are compared.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from burnish.model.signals import Signal

LOWEST = -1e4  # exp of it is 0 in every precision, and 0 * LOWEST is 0 where 0 * -inf would be NaN


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

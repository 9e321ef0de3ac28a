"""The distribution a token is drawn from, and the draw itself. In: logits and one uniform number per row. Out: ids and nats.

The order is repetition penalty, temperature, top-k, top-p, min-p; each works on what the one before left. Every request draws
from a random stream of its own, so that a request gets the same tokens whatever its neighbours are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from burnish.config.sections import SamplingSection

BLOCK = 256
"""Columns that are added up at once."""
FLOORS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
"""Probabilities, of which the first is taken above which tokens hold a share of the whole."""
ROUNDING = 1e-6
"""How much more than the share they must hold, so that none is missed by rounding."""


class Drawn(NamedTuple):
    """One token of each row. tokens, logps: [rows]. likeliest: ids and log-probabilities [rows, K] of the likeliest tokens that
    could have been drawn, likeliest first, -1 and 0 where there were fewer; None unless asked for."""

    tokens: Tensor
    logps: Tensor
    likeliest: tuple[Tensor, Tensor] | None = None


def random_stream(seed: int, prompt: Sequence[int], occurrence: int, length: int) -> NDArray[np.float32]:
    """Uniform numbers [length] in [0, 1) of the `occurrence`-th request with this prompt: a function of nothing else."""
    content = np.array([seed, occurrence, *prompt], dtype=np.int64).tobytes()
    key = int.from_bytes(hashlib.blake2b(content, digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key)).random(length, dtype=np.float32)


def draw(logits: Tensor, uniforms: Tensor, sampling: SamplingSection, seen: Tensor | None = None, likeliest: int = 0) -> Drawn:
    """One token per row and its log-probability. logits: [rows, vocabulary]; uniforms: [rows] in [0, 1); seen: bool [rows,
    vocabulary], the tokens that a repetition penalty is for; likeliest: how many of the likeliest tokens are reported beside.

    The log-probability is that of the processed distribution, nats. At temperature 0 the most likely token is taken and the
    log-probability is the model's own, since that of a certain event would say nothing. A row of NaN logits gives NaN.
    """
    if logits.dtype != torch.float64:
        logits = logits.float()
    scores, tokens_of = penalised(logits, seen, sampling.repetition_penalty), None
    if sampling.temperature == 0:
        picked, scores = scores.argmax(-1, keepdim=True), logits
        top = scores.amax(-1, keepdim=True)
        rest = (scores - top).logsumexp(-1, keepdim=True)
    else:
        scores, tokens_of = processed(scores, sampling)
        top = scores.amax(-1, keepdim=True)
        picked, whole = _inverse((scores - top).exp_(), uniforms.double()[:, None])
        rest = whole.log().to(top.dtype)
    tokens = picked if tokens_of is None else tokens_of.gather(-1, picked)
    logps = scores.gather(-1, picked) - top - rest
    if not likeliest:
        return Drawn(tokens[:, 0], logps[:, 0])
    highest, columns = scores.topk(min(likeliest, scores.shape[-1]))
    ids = columns if tokens_of is None else tokens_of.gather(-1, columns)
    return Drawn(tokens[:, 0], logps[:, 0], _filled(ids, highest - top - rest, likeliest))


def _filled(ids: Tensor, logps: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Likeliest tokens as `Drawn` has them, `count` of them, of those that there are."""
    none, room = logps.isneginf(), (0, count - logps.shape[-1])
    ids, logps = ids.masked_fill(none, -1), logps.masked_fill(none, 0.0)
    return torch.nn.functional.pad(ids, room, value=-1), torch.nn.functional.pad(logps, room)


def _inverse(weights: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Where the cumulative distribution passes each number, [rows, 1], and what each row sums up to, float64 [rows, 1].

    weights: probabilities up to a factor of each row, float [rows, columns]; uniforms: float64 [rows, 1] in [0, 1).

    First the block of columns, then the column in it, so that only one block a row is added up column by column. A column of
    probability 0 is never the one. A row of NaN gives any column.
    """
    rows, columns = weights.shape
    room = -columns % BLOCK
    blocks = (torch.nn.functional.pad(weights, (0, room)) if room else weights).view(rows, -1, BLOCK)
    cumulative = blocks.sum(-1, dtype=torch.float64).cumsum(-1)
    target = uniforms * cumulative[:, -1:]
    block = torch.searchsorted(cumulative, target, right=True).clamp(max=cumulative.shape[-1] - 1)
    before = torch.where(block > 0, cumulative.gather(-1, (block - 1).clamp(min=0)), 0.0)
    inner = blocks.take_along_dim(block[..., None], 1)[:, 0].cumsum(-1, dtype=torch.float64)
    # Rounding may put the target beyond the sum of its own block: then the last column that adds to it.
    last = torch.searchsorted(inner, inner[:, -1:].contiguous())
    found = torch.minimum(torch.searchsorted(inner, target - before, right=True), last)
    return (block * BLOCK + found).clamp(max=columns - 1), cumulative[:, -1:]


def penalised(logits: Tensor, seen: Tensor | None, penalty: float) -> Tensor:
    """Logits of seen tokens divided by the penalty where they are positive, multiplied by it where they are negative.

    Shapes: [rows, vocabulary]. Source: Keskar et al. 2019, arXiv:1909.05858, section 4.1, with the sign that keeps a penalty a
    penalty for negative logits, as in transformers and vLLM.
    """
    if seen is None or penalty == 1:
        return logits
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def processed(logits: Tensor, sampling: SamplingSection) -> tuple[Tensor, Tensor | None]:
    """Scores after temperature, top-k, top-p and min-p, and the token of each column (None: columns are tokens).

    logits: [rows, vocabulary]; out: [rows, columns], whose softmax is the distribution, -inf where a token cannot be drawn.
    """
    tokens_of = None
    if sampling.top_k:
        logits, tokens_of = logits.topk(min(sampling.top_k, logits.shape[-1]))
    scores = logits if sampling.temperature == 1 else logits / sampling.temperature
    if sampling.top_p < 1:
        logp = torch.log_softmax(scores, -1)
        if tokens_of is None:
            logp, tokens_of = _holding(logp, sampling.top_p)
        probability = logp.exp()
        before = probability.cumsum(-1) - probability
        scores = logp.masked_fill(before >= sampling.top_p, -torch.inf)
    if sampling.min_p > 0:
        floor = scores.amax(-1, keepdim=True) + float(np.log(sampling.min_p))
        scores = scores.masked_fill(scores < floor, -torch.inf)
    return scores, tokens_of


def _holding(logp: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The likeliest tokens of every row, likeliest first and equal ones in their own order, at least as many as hold `share` of
    its probability, -inf after them; and their ids. logp: [rows, vocabulary]; out: [rows, columns].

    Only tokens above some probability are sorted: a whole vocabulary takes longer than all else that a draw needs.
    """
    probability = logp.exp()
    for floor in FLOORS:
        inside = probability > floor
        if bool(((probability * inside).sum(-1, dtype=torch.float64) > share + ROUNDING).all()):
            break
    else:
        inside = torch.ones_like(inside)
    counts = inside.sum(-1, keepdim=True)
    filled = torch.arange(int(counts.max()), device=logp.device) < counts
    kept, ids = logp.new_full(filled.shape, -torch.inf), torch.zeros_like(filled, dtype=torch.int64)
    kept[filled], ids[filled] = logp[inside], inside.nonzero()[:, 1]
    kept, order = kept.sort(dim=-1, descending=True, stable=True)
    return kept, ids.gather(-1, order)

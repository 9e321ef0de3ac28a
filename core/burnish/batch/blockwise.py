"""Tree attention on a CPU, block by block: every segment attends to itself, and all that follows it in the tree attends to it.

In flat order whatever hangs below a segment follows it without a gap, so both kinds of block are plain slices: no path is
gathered, no mask is built, nothing but queries, keys, values and the output is kept. Partial softmaxes are merged by their
logarithmic normalisers; a block's backward, given the merged output and normaliser, is exact by itself.

Uses torch's own flash kernel for CPUs, which returns the normaliser that the public function keeps to itself.
Shapes: q [1, H, N, D], k and v [1, H_kv, N, D], normaliser [1, H, N].
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from burnish.batch.trie import Segments

DTYPES = (torch.float32, torch.float64, torch.bfloat16)
# Up to so many queries torch's backward kernel takes half as long or less over bfloat16 that was made float32 before.
FEW = 512
_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def blockwise(q: Tensor, k: Tensor, v: Tensor, segments: Segments, scale: float) -> Tensor:
    """Full (windowless) causal attention of every segment over its path: [1, N, H, D]."""
    output: Tensor = _Blockwise.apply(q, k, v, segments, scale)  # type: ignore[no-untyped-call]
    return output.transpose(1, 2)


def _blocks(segments: Segments) -> Iterator[tuple[slice, slice, bool]]:
    """(queries, keys, whether causal): first every segment with itself, then what hangs below each."""
    own = [slice(start, start + length) for start, length in zip(segments.starts, segments.lengths, strict=True)]
    yield from ((each, each, True) for each in own)
    for each, end in zip(own, segments.ends, strict=True):
        if end > each.stop:
            yield slice(each.stop, end), each, False


class _Blockwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, segments: Segments, scale: float) -> Tensor:
        wide = torch.promote_types(q.dtype, torch.float32)
        output, normaliser = torch.empty_like(q, dtype=wide), q.new_empty(q.shape[:-1], dtype=wide)
        for rows, columns, causal in _blocks(segments):
            part, part_normaliser = _forward(q[:, :, rows], k[:, :, columns], v[:, :, columns], 0.0, causal, scale=scale)
            if not causal:
                whole = torch.logaddexp(normaliser[:, :, rows], part_normaliser)
                share, part_share = ((one - whole).exp()[..., None] for one in (normaliser[:, :, rows], part_normaliser))
                part, part_normaliser = output[:, :, rows] * share + part * part_share, whole
            output[:, :, rows], normaliser[:, :, rows] = part, part_normaliser
        output = output.to(q.dtype)
        ctx.save_for_backward(q, k, v, output, normaliser)
        ctx.segments, ctx.scale = segments, scale
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        [grad], (q, k, v, output, normaliser) = grads, ctx.saved_tensors
        wide = normaliser.dtype
        dq, dk, dv = (torch.empty_like(states, dtype=wide) for states in (q, k, v))
        for rows, columns, causal in _blocks(ctx.segments):
            sides = [grad[:, :, rows], q[:, :, rows], k[:, :, columns], v[:, :, columns], output[:, :, rows]]
            if rows.stop - rows.start <= FEW:
                sides = [states.to(wide) for states in sides]
            part_q, part_k, part_v = _backward(*sides, normaliser[:, :, rows], 0.0, causal, scale=ctx.scale)
            if causal:  # the first block that touches these rows and columns
                dq[:, :, rows], dk[:, :, columns], dv[:, :, columns] = part_q, part_k, part_v
            else:
                dq[:, :, rows] += part_q
                dk[:, :, columns] += part_k
                dv[:, :, columns] += part_v
        return dq.to(q.dtype), dk.to(k.dtype), dv.to(v.dtype), None, None

"""Attention over segments: the function that transformers calls in place of its own, and the switch that makes it do so.

In: queries, keys and values of a flat layout, and its `Segments` as the forward keyword `burnish_segments`. Out: each query's
attention over the keys on its own path. Segments travel in no other way: gradient checkpointing runs the forward again, later,
and a global or an attribute could by then belong to another batch. Knows no model family.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface

from burnish.batch.blockwise import DTYPES, blockwise
from burnish.batch.layout import sent
from burnish.batch.trie import Segments
from burnish.errors import ModelError

# Holds none of "sdpa", "flex", "flash": transformers matches substrings. Without a mask function of this name no mask is made.
NAME = "burnish_tree"


def tree_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    burnish_segments: Segments | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention of every segment over its path.

    query: [1, H, N, D]; key, value: [1, H_kv, N, D], H a multiple of H_kv. Returns [1, N, H, D]. A window of w lets the query
    at depth d see keys at depths d-w+1 to d. Raises ModelError for what it does not implement.
    """
    if burnish_segments is None:
        raise ModelError(
            f"the attention '{NAME}' was called without `burnish_segments`: forward through a Scorer, or wrap the call in "
            "`with own_attention(model)`"
        )
    refused = [
        ("dropout in attention", dropout > 0),
        ("attention sinks", kwargs.get("s_aux") is not None),
        ("an attention mask", attention_mask is not None),
        ("a position bias", kwargs.get("position_bias") is not None),
        ("attention that is not causal", kwargs.get("is_causal") is False or getattr(module, "is_causal", True) is False),
    ]
    for what, given in refused:
        if given:
            raise ModelError(f"{type(module).__name__} asks for {what}; the attention '{NAME}' has none: use `layout: padded`")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if torch.is_autocast_enabled(query.device.type):
        # Rotated queries and keys are float32 where values are not; torch's own attention casts them all, so does this one.
        query, key, value = (states.to(torch.get_autocast_dtype(query.device.type)) for states in (query, key, value))
    if softcap is None and query.is_cuda and _has_kernel(query):
        return _varlen(query, key, value, burnish_segments, scale, sliding_window), None
    if softcap is None and sliding_window is None and query.device.type == "cpu" and query.dtype in DTYPES:
        return blockwise(query, key, value, burnish_segments, scale), None
    return _per_segment(query, key, value, burnish_segments, scale, sliding_window, softcap), None


AttentionInterface.register(NAME, tree_attention)


def _has_kernel(query: Tensor) -> bool:
    """Whether torch's flash attention takes such states: of 16 bits, of a width that it has kernels for, on Ampere or later."""
    width = query.shape[-1]
    takes = query.dtype in (torch.float16, torch.bfloat16) and width <= 256 and width % 8 == 0
    return takes and torch.cuda.get_device_capability(query.device) >= (8, 0)


def _per_segment(
    query: Tensor, key: Tensor, value: Tensor, segments: Segments, scale: float, window: int | None, softcap: float | None
) -> Tensor:
    """The reference: one SDPA call per segment, or per group of segments of one shape."""
    # Split once and concatenate paths: the backward is a sum per piece, deterministic and without full-size zeros.
    queries, keys, values = (torch.split(states, [*segments.lengths], dim=2) for states in (query, key, value))
    outputs: list[Tensor | None] = [None] * len(segments)
    for (_, reach), members in _same_shape(segments, window).items():
        q = torch.cat([queries[segment] for segment in members])
        k, v = (torch.cat([_path(states, segments, segment, reach) for segment in members]) for states in (keys, values))
        if softcap is None:
            attended = _sdpa(q, k, v, scale, window)
        else:
            attended = _softcapped(q, k, v, scale, window, softcap)
        for segment, output in zip(members, torch.split(attended, 1), strict=True):
            outputs[segment] = output
    return torch.cat([output for output in outputs if output is not None], dim=2).transpose(1, 2)


def _same_shape(segments: Segments, window: int | None) -> dict[tuple[int, int], list[int]]:
    """Segments by (number of queries, number of keys within reach of the first query or later)."""
    groups: dict[tuple[int, int], list[int]] = {}
    for segment, (length, depth) in enumerate(zip(segments.lengths, segments.depths, strict=True)):
        before = depth if window is None else min(depth, window - 1)
        groups.setdefault((length, before + length), []).append(segment)
    return groups


def _pieces(pieces: tuple[Tensor, ...], segments: Segments, segment: int, reach: int) -> list[Tensor]:
    """The last `reach` states along the path of `segment`, in the order of depth: [1, H, n, D] each, n `reach` in all."""
    states: list[Tensor] = []
    for ancestor in segments.path(segment):
        piece = pieces[ancestor]
        states.append(piece if piece.shape[2] <= reach else piece[:, :, -reach:])
        reach -= states[-1].shape[2]
        if reach == 0:
            break
    return states[::-1]


def _path(pieces: tuple[Tensor, ...], segments: Segments, segment: int, reach: int) -> Tensor:
    """The same, in one: [1, H, reach, D]."""
    states = _pieces(pieces, segments, segment, reach)
    return states[0] if len(states) == 1 else torch.cat(states, dim=2)


def _visible(num_queries: int, num_keys: int, window: int | None, device: torch.device) -> Tensor:
    """Bool [num_queries, num_keys]: the last query sees the last key, and what lies before it as far as the window goes."""
    behind = torch.arange(num_keys - num_queries, num_keys, device=device)[:, None] - torch.arange(num_keys, device=device)
    return (behind >= 0) & (behind < (num_keys if window is None else window))


def _sdpa(q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None) -> Tensor:
    num_queries, num_keys, grouped = q.shape[2], k.shape[2], q.shape[1] != k.shape[1]
    plain = num_queries == num_keys and (window is None or window >= num_keys)
    mask = None if plain else _visible(num_queries, num_keys, window, q.device)
    return F.scaled_dot_product_attention(q, k, v, mask, is_causal=plain, scale=scale, enable_gqa=grouped)


def _softcapped(q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, softcap: float) -> Tensor:
    """Scores pass through softcap * tanh(score / softcap) before the softmax, which no fused kernel offers."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    scores = softcap * torch.tanh(q @ k.transpose(2, 3) * scale / softcap)
    scores = scores.masked_fill(~_visible(q.shape[2], k.shape[2], window, q.device), float("-inf"))
    widest = torch.promote_types(q.dtype, torch.float32)
    return scores.softmax(-1, dtype=widest).to(q.dtype) @ v


def _varlen(query: Tensor, key: Tensor, value: Tensor, segments: Segments, scale: float, window: int | None) -> Tensor:
    """One flash-attention call: every segment's queries, against the keys of its path laid end to end."""
    from torch.nn.attention.varlen import varlen_attn

    reaches = [0] * len(segments)
    for (_, reach), members in _same_shape(segments, window).items():
        for segment in members:
            reaches[segment] = reach
    grouped: dict[str, Any] = {"enable_gqa": True} if query.shape[1] != key.shape[1] else {}
    if grouped and "enable_gqa" not in inspect.signature(varlen_attn).parameters:  # torch 2.11
        grouped, repeats = {}, query.shape[1] // key.shape[1]
        key, value = (states.repeat_interleave(repeats, dim=1) for states in (key, value))
    k, v = (_paths(torch.split(states, [*segments.lengths], dim=2), segments, reaches) for states in (key, value))
    ends_q, ends_k = (
        sent(torch.tensor((0, *lengths)).cumsum(0).to(torch.int32), query.device) for lengths in (segments.lengths, reaches)
    )
    attended = varlen_attn(
        query[0].transpose(0, 1).contiguous(),
        k,
        v,
        ends_q,
        ends_k,
        max(segments.lengths),
        max(reaches),
        scale=scale,
        window_size=(-1 if window is None else window - 1, 0),
        **grouped,
    )
    assert isinstance(attended, Tensor)
    return attended[None]


def _paths(pieces: tuple[Tensor, ...], segments: Segments, reaches: list[int]) -> Tensor:
    """The paths of all segments end to end: [sum of reaches, H, D]. One operation, however many segments and ancestors."""
    every = [piece for segment, reach in enumerate(reaches) for piece in _pieces(pieces, segments, segment, reach)]
    return torch.cat(every, dim=2)[0].transpose(0, 1).contiguous()


def attention_of(model: Any) -> str:
    """Name of the attention that `model`'s text layers run."""
    return str(model.config.get_text_config()._attn_implementation)


def own_name(model: Any) -> str:
    """Name of transformers' own attention for `model`: the one it runs now, or its default once it runs ours."""
    if (now := attention_of(model)) != NAME:
        return now
    softcapped = getattr(model.config.get_text_config(), "attn_logit_softcapping", None) is not None
    return "sdpa" if model._supports_sdpa and not softcapped else "eager"


def set_attention(model: Any, name: str) -> None:
    """Make `model`'s text layers run the attention `name`; a vision tower keeps its own."""
    text = model.config.get_text_config()
    if text is model.config:
        model.set_attn_implementation(name)
    else:
        [key] = [key for key in model.config.sub_configs if getattr(model.config, key) is text]
        model.set_attn_implementation({key: name})


@contextmanager
def own_attention(model: Any) -> Iterator[None]:
    """Within it `model` runs transformers' own attention, to generate, say. Never enter between a forward and its backward."""
    before = attention_of(model)
    set_attention(model, own_name(model))
    try:
        yield
    finally:
        set_attention(model, before)

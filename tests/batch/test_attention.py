"""The attention functions against a softmax over explicit masks, on drawn trees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.attention import varlen

from burnish.batch import attention
from burnish.batch.attention import tree_attention
from burnish.batch.trie import Segments, build_trie
from burnish.data.units import Sequence

HEADS, KV_HEADS, WIDTH = 4, 2, 8


@st.composite
def trees(draw: st.DrawFn) -> tuple[Segments, Tensor, Tensor]:
    """Segments, the depth of every token, and who is an ancestor of whom: bool [N, N]."""
    ids = draw(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=6))
    trie = build_trie([Sequence(np.array(one, np.int64), {}) for one in ids])
    above = torch.zeros(len(trie.ids), len(trie.ids), dtype=torch.bool)
    for place in trie.places:
        above[place[:, None], place[None, :]] |= torch.ones(len(place), len(place)).tril().bool()
    return trie.segments, torch.from_numpy(trie.depths), above


def expected(q: Tensor, k: Tensor, v: Tensor, visible: Tensor, softcap: float | None) -> Tensor:
    k, v = (states.repeat_interleave(HEADS // KV_HEADS, dim=1) for states in (k, v))
    scores = q @ k.transpose(2, 3) * 0.3
    scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
    return (scores.masked_fill(~visible, -torch.inf).softmax(-1) @ v).transpose(1, 2)


def values_and_gradients(function: Callable[..., Tensor], states: list[Tensor]) -> list[Tensor]:
    output = function(*states)
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view(output.shape)
    return [output, *torch.autograd.grad((output * weights).sum(), states)]


@pytest.mark.parametrize(("window", "softcap"), [(None, None), (3, None), (None, 2.0), (3, 2.0)])
@settings(max_examples=25, deadline=None)
@given(tree=trees())
def test_every_query_sees_its_path(window: int | None, softcap: float | None, tree: tuple[Segments, Tensor, Tensor]) -> None:
    segments, depths, visible = tree
    if window is not None:
        visible = visible & (depths[:, None] - depths[None, :] < window)
    draw = torch.Generator().manual_seed(0)
    states = [
        torch.randn(1, heads, len(depths), WIDTH, dtype=torch.float64, generator=draw).requires_grad_()
        for heads in (HEADS, KV_HEADS, KV_HEADS)
    ]

    def ours(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        settings = {"scaling": 0.3, "sliding_window": window, "softcap": softcap, "burnish_segments": segments}
        return tree_attention(nn.Module(), q, k, v, None, **settings)[0]  # type: ignore[arg-type]

    def per_segment(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention._per_segment(q, k, v, segments, 0.3, window, softcap)

    wanted = values_and_gradients(lambda q, k, v: expected(q, k, v, visible, softcap), states)
    for function in (ours, per_segment):  # the one that was chosen, and the reference
        for one, other in zip(values_and_gradients(function, states), wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("window", [None, 5])
def test_a_conversation_that_branches_at_every_turn(window: int | None) -> None:
    # Forty forks below each other: sequence k follows the trunk for k + 1 tokens, then goes a way of its own.
    ids = [np.array([7] * (level + 1) + [level % 5] * 3) for level in range(40)]
    trie = build_trie([Sequence(one.astype(np.int64), {}) for one in ids])
    assert len(trie.segments) >= 79
    assert max(len(list(trie.segments.path(segment))) for segment in range(len(trie.segments))) >= 40
    depths = torch.from_numpy(trie.depths)
    visible = torch.zeros(len(depths), len(depths), dtype=torch.bool)
    for place in trie.places:
        visible[place[:, None], place[None, :]] |= torch.ones(len(place), len(place)).tril().bool()
    visible &= depths[:, None] - depths[None, :] < (window or len(depths))
    draw = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(1, heads, len(depths), WIDTH, dtype=torch.float64, generator=draw) for heads in (HEADS, KV_HEADS, KV_HEADS)
    )
    ours, _ = tree_attention(
        nn.Module(), q, k, v, None, scaling=0.3, sliding_window=window, burnish_segments=trie.segments
    )
    torch.testing.assert_close(ours, expected(q, k, v, visible, None), rtol=1e-10, atol=1e-10)


def test_bfloat16_rounds_as_one_softmax_does() -> None:
    # Against float64, merged blocks err at most 1.25 times as much as a single call over the whole path.
    draw = np.random.default_rng(0)
    trunk = draw.integers(0, 9, 40)
    trie = build_trie([Sequence(np.concatenate([trunk, draw.integers(0, 9, 30)]), {}) for _ in range(4)])
    seeded = torch.Generator().manual_seed(0)
    exact = [
        torch.randn(1, heads, len(trie.ids), 16, dtype=torch.float64, generator=seeded) for heads in (HEADS, KV_HEADS, KV_HEADS)
    ]
    errors = []
    for function in (
        lambda q, k, v: tree_attention(nn.Module(), q, k, v, None, burnish_segments=trie.segments)[0],
        lambda q, k, v: attention._per_segment(q, k, v, trie.segments, 0.25, None, None),
    ):
        wanted = values_and_gradients(function, [states.clone().requires_grad_() for states in exact])
        found = values_and_gradients(function, [states.bfloat16().requires_grad_() for states in exact])
        errors.append([(one.double() - other).norm().item() for one, other in zip(found, wanted, strict=True)])
    for merged, single in zip(*errors, strict=True):
        assert merged <= 1.25 * single


def in_place_of_flash(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    ends_q: Tensor,
    ends_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float,
    window_size: tuple[int, int],
    enable_gqa: bool = False,
) -> Tensor:
    """torch's variable-length attention as documented, a sequence at a time: the last query sees the last key."""
    assert enable_gqa == (query.shape[1] != key.shape[1])
    assert ends_q.dtype == ends_k.dtype == torch.int32
    assert [int(ends_q[-1]), int(ends_k[-1])] == [len(query), len(key)]
    assert [max_q, max_k] == [int(ends_q.diff().max()), int(ends_k.diff().max())]
    outputs = []
    for row in range(len(ends_q) - 1):
        q, k, v = (
            states[ends[row] : ends[row + 1]].transpose(0, 1)
            for states, ends in ((query, ends_q), (key, ends_k), (value, ends_k))
        )
        k, v = (states.repeat_interleave(len(q) // len(k), dim=0) for states in (k, v))
        behind = torch.arange(k.shape[1] - q.shape[1], k.shape[1])[:, None] - torch.arange(k.shape[1])
        far = k.shape[1] if window_size[0] < 0 else window_size[0]
        seen = (behind >= -window_size[1]) & (behind <= far)
        outputs.append(((q @ k.transpose(1, 2) * scale).masked_fill(~seen, -torch.inf).softmax(-1) @ v).transpose(0, 1))
    return torch.cat(outputs)


def older(*arguments: Any, scale: float, window_size: tuple[int, int]) -> Tensor:
    """torch 2.11's, which has as many heads of keys as of queries."""
    return in_place_of_flash(*arguments, scale=scale, window_size=window_size)


@pytest.mark.parametrize("kernel", [in_place_of_flash, older])
@pytest.mark.parametrize("window", [None, 3])
@settings(max_examples=25, deadline=None)
@given(tree=trees())
def test_what_the_cuda_path_hands_to_its_kernel(
    kernel: Callable[..., Tensor], window: int | None, tree: tuple[Segments, Tensor, Tensor]
) -> None:
    segments, depths, visible = tree
    visible = visible & (depths[:, None] - depths[None, :] < (window or len(depths)))
    draw = torch.Generator().manual_seed(0)
    states = [
        torch.randn(1, heads, len(depths), WIDTH, dtype=torch.float64, generator=draw).requires_grad_()
        for heads in (HEADS, KV_HEADS, KV_HEADS)
    ]
    wanted = values_and_gradients(lambda q, k, v: expected(q, k, v, visible, None), states)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(varlen, "varlen_attn", kernel)
        found = values_and_gradients(lambda q, k, v: attention._varlen(q, k, v, segments, 0.3, window), states)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_the_cuda_path_joins_paths_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # However many segments there are: once for keys and once for values. A kernel a segment would keep the host busy.
    monkeypatch.setattr(varlen, "varlen_attn", lambda q, *_, **__: q)
    for branches in (2, 40):
        trie = build_trie([Sequence(np.array([7] * 5 + [branch] * 3, np.int64), {}) for branch in range(branches)])
        q, k, v = (torch.randn(1, heads, len(trie.ids), WIDTH) for heads in (HEADS, KV_HEADS, KV_HEADS))
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
            attention._varlen(q, k, v, trie.segments, 0.3, None)
        assert sum(event.name == "aten::cat" for event in seen.events()) == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("window", [None, 8])
def test_the_cuda_path_agrees_with_the_reference(window: int | None) -> None:
    draw = np.random.default_rng(0)
    trunk = draw.integers(0, 9, 40)
    trie = build_trie([Sequence(np.concatenate([trunk[:cut], draw.integers(0, 9, 30)]), {}) for cut in (40, 40, 20, 0)])
    states = [
        torch.randn(1, heads, len(trie.ids), 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
        for heads in (HEADS, KV_HEADS, KV_HEADS)
    ]
    ours = values_and_gradients_cuda(lambda q, k, v: attention._varlen(q, k, v, trie.segments, 0.125, window), states)
    wanted = values_and_gradients_cuda(
        lambda q, k, v: attention._per_segment(q, k, v, trie.segments, 0.125, window, None), states
    )
    for one, other in zip(ours, wanted, strict=True):
        assert (one - other).norm() <= 0.02 * other.norm()


def values_and_gradients_cuda(function: Callable[..., Tensor], states: list[Tensor]) -> list[Tensor]:
    output = function(*states)
    return [output, *torch.autograd.grad(output.float().square().sum(), states)]

"""Promise 2 at its root: a tree, packed sequences and padded rows give the same numbers and gradients, in every family."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.batch.layout import Kind, lay_out
from burnish.data.units import Sequence
from burnish.model.scorer import Scorer, base_of
from burnish.model.signals import entropy, logp, score
from burnish.model.sites import sites_for
from burnish.testing.tiny import tiny_model

FAMILIES = ["llama", "llama_untied", "llama_classifier", "qwen3", "mistral", "gemma2", "gemma3", "qwen3_moe", "gpt2"]


@st.composite
def tries(draw: st.DrawFn) -> list[Sequence]:
    """Sequences that branch off each other anywhere, equal ones and single tokens among them."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ids = [random.integers(0, 250, draw(st.integers(1, 12)))]
    for _ in range(draw(st.integers(1, 6))):
        stem = ids[draw(st.integers(0, len(ids) - 1))]
        cut, tail = draw(st.integers(0, len(stem))), draw(st.integers(0, 8))
        ids.append(np.concatenate([stem[:cut], random.integers(0, 250, tail if cut else tail + 1)]))
    masks = [random.random(len(one)) < 0.8 for one in ids]
    for mask in masks:
        mask[0] = False
    return [Sequence(one, {"completion": mask}) for one, mask in zip(ids, masks, strict=True)]


def run(model: torch.nn.Module, sequences: list[Sequence], kind: Kind) -> tuple[torch.Tensor, torch.Tensor]:
    """Signals of all sequences end to end, and the gradient of the mean of the first one, by every parameter."""
    layout = lay_out(sequences, kind)
    sites = sites_for(layout, [sequence.masks["completion"] for sequence in sequences])
    signals = (score(),) if base_of(model).get_output_embeddings() is None else (logp(), entropy(), logp(temperature=0.7))
    values = Scorer(model, kind)(layout, sites, signals)
    rows = torch.from_numpy(np.concatenate(sites.rows))
    every = torch.stack([value[rows] for value in values])
    model.zero_grad()
    torch.autograd.backward(every[0].sum())
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    return every.detach(), torch.cat([grad.flatten() for grad in grads])


def assert_alike(model: torch.nn.Module, sequences: list[Sequence], tolerance: float) -> None:
    values, gradient = run(model, sequences, "padded")
    for kind in ("packed", "tree"):
        others, other_gradient = run(model, sequences, kind)
        torch.testing.assert_close(others, values, rtol=tolerance, atol=tolerance)
        assert (other_gradient - gradient).norm() <= tolerance * gradient.norm(), kind


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=6, deadline=None)
@given(sequences=tries())
def test_layouts_agree_in_float32(family: str, sequences: list[Sequence]) -> None:
    assert_alike(tiny_model(family), sequences, 1e-5)


@settings(max_examples=15, deadline=None)
@given(sequences=tries())
def test_layouts_agree_to_1e_10_in_float64(sequences: list[Sequence]) -> None:
    # Of these families only GPT-2's norms compute in float64.
    assert_alike(tiny_model("gpt2", dtype=torch.float64), sequences, 1e-10)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_layouts_agree_under_gradient_checkpointing(family: str) -> None:
    # The forward runs again in the backward, when another batch has been forwarded in between.
    model = tiny_model(family)
    draw = np.random.default_rng(0)
    batches = []
    for _ in range(2):
        trunk = draw.integers(0, 250, 6)
        ids = [np.concatenate([trunk, draw.integers(0, 250, length)]) for length in (3, 5, 8)]
        batches.append([Sequence(one, {"completion": np.arange(len(one)) >= 6}) for one in ids])
    expected = [run(model, batch, "tree")[1] for batch in batches]
    model.train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    scorer = Scorer(model, "tree")
    losses = []
    for batch in batches:
        layout = lay_out(batch, "tree")
        sites = sites_for(layout, [sequence.masks["completion"] for sequence in batch])
        losses.append(scorer(layout, sites, (logp(),))[0].sum())
    for loss, gradient in zip(losses, expected, strict=True):
        model.zero_grad()
        loss.backward()
        again = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        torch.testing.assert_close(again, gradient, rtol=1e-5, atol=1e-5)

"""Memory told without numbers: against what real tensors take, and by hand."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from burnish.batch.layout import Kind, lay_out
from burnish.config.sections import TrainSection
from burnish.data.units import Mask, Sequence
from burnish.engine.rehearsal import Alive, training_bytes
from burnish.model.checkpointing import checkpoint_layers
from burnish.model.scorer import Scorer
from burnish.model.signals import entropy, logp, sampler_divergence
from burnish.model.sites import sites_for
from burnish.testing.tiny import tiny_model

CPU = torch.device("cpu")


def micro(num_tokens: int, num_sequences: int = 4) -> list[tuple[Sequence, Mask]]:
    draw = np.random.default_rng(0)
    length = num_tokens // num_sequences
    return [(Sequence(draw.integers(0, 250, length), {}), np.arange(length) > 0) for _ in range(num_sequences)]


def told(model: nn.Module, num_tokens: int = 64, turns: int = 1, kind: Kind = "tree", **train: Any) -> int:
    return training_bytes(model, micro(num_tokens), (logp(), entropy()), kind, TrainSection(**train), CPU, turns)


@pytest.mark.parametrize(("family", "kind"), [("llama", "tree"), ("gemma3", "tree"), ("gpt2", "padded")])
def test_real_tensors_take_what_was_told(family: str, kind: Kind) -> None:
    model = tiny_model(family).train()
    batch = micro(64)
    expected = training_bytes(model, batch, (logp(), entropy()), kind, TrainSection(), CPU)
    layout = lay_out([sequence for sequence, _ in batch], kind)
    sites = sites_for(layout, [mask for _, mask in batch])
    scorer = Scorer(model, kind)
    gc.collect()
    with Alive([*model.parameters(), *model.buffers()], CPU) as alive:
        values = scorer(layout, sites, (logp(), entropy()))
        torch.autograd.backward(torch.stack([value.sum() for value in values]).sum())
    assert alive.most == pytest.approx(expected, rel=0.02)


def test_what_the_sampler_will_report_is_rehearsed_before_anything_is_drawn() -> None:
    plain, compared = ((logp(), entropy(), *more) for more in ((), (sampler_divergence("tv", 20),)))
    sizes = [
        training_bytes(tiny_model("llama"), micro(64), signals, "tree", TrainSection(), CPU) for signals in (plain, compared)
    ]
    # 60 targets: 21 ids and log-probabilities of each (12 bytes), and a few numbers for every one of them while it is computed.
    assert 0 <= sizes[1] - sizes[0] < 60 * 21 * (12 + 6 * 4)


def test_a_model_without_weights_gives_the_same_and_is_left_alone() -> None:
    model = tiny_model("llama_untied")
    before = told(model)
    assert all(parameter.grad is None and parameter.device == CPU for parameter in model.parameters())
    assert told(model.to("meta")) == before


def test_what_is_alive_by_hand() -> None:
    # 1000 float32 there already; two results of 4000 bytes, of which the first is forgotten before the third is made; a view
    # of something is nothing new.
    there = torch.zeros(1000)
    with Alive([there], CPU) as alive:
        one = there + 1
        two = one * 2
        view = two[:10]
        assert alive.now == 8000
        del one
        gc.collect()
        assert alive.now == 4000
        three = view.repeat(10)
    assert (alive.most, alive.now) == (8000, 4400)
    assert len(three) == 100


def test_gradients_that_wait_from_another_micro_batch_come_on_top() -> None:
    # An untied head makes its gradient last in no way: all gradients are there at the peak of the second turn.
    model = tiny_model(num_hidden_layers=4)
    size = sum(parameter.numel() * 4 for parameter in model.parameters())
    once, twice = told(model, 256), told(model, 256, turns=2)
    assert 0.5 * size < twice - once <= size + 1


def test_less_is_kept_the_more_is_computed_again() -> None:
    every, selective, inputs = (tiny_model(num_hidden_layers=6) for _ in range(3))
    checkpoint_layers(selective, "selective")
    checkpoint_layers(inputs, True)
    assert told(inputs, 256) < 0.8 * told(selective, 256) < 0.8 * 0.8 * told(every, 256)


def test_bfloat16_takes_less() -> None:
    model = tiny_model(num_hidden_layers=4, tie_word_embeddings=False)
    assert told(model, 256, precision="bf16") < told(model, 256)
    # Norms compute in float32 in either case, and keep what they computed: a large part where the hidden size is 16.
    assert told(model.to(torch.bfloat16), 256) < 0.9 * told(tiny_model(num_hidden_layers=4), 256)

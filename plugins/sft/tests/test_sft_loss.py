"""SFT on numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from burnish_sft.loss import SFT
from burnish_sft.recipe import sft

from burnish.objective.compose import Objective
from burnish.objective.reduce import Reduction
from burnish.registry import load
from burnish.testing import evaluate, tiny_model, tiny_tokenizer, values_of
from burnish.testing.batches import sequences


def test_the_mean_is_over_all_tokens_of_all_sequences() -> None:
    terms = SFT()(sequences([[-1.0, -2.0], [-6.0]]))
    per_token = values_of(terms, "token")
    assert per_token.values.tolist() == [1.0, 2.0, 6.0]
    # (1 + 2 + 6) / 3, not ((1 + 2) / 2 + 6) / 2
    assert Reduction("token_mean").shares(terms, torch.ones(2), 3).sum().item() == 3.0


def test_a_uniform_model_pays_the_logarithm_of_its_vocabulary() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.get_input_embeddings().weight.zero_()  # tied to the head: all logits are 0
    rows = [{"prompt": "a", "completion": "bc"}, {"prompt": "d", "completion": "e"}]
    result = evaluate([{"sft": {}}], rows, model, tiny_tokenizer(chat=False))
    uniform = math.log(model.config.vocab_size)
    assert result.loss == pytest.approx(uniform)
    assert result.metrics["entropy"] == pytest.approx(uniform)


def test_accuracy_counts_targets_that_come_first() -> None:
    rows = [{"prompt": "a", "completion": "bcd"}]
    model, tokenizer = tiny_model("llama"), tiny_tokenizer(chat=False)
    before = evaluate([{"sft": {}}], rows, model, tokenizer)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(40):
        step = evaluate([{"sft": {}}], rows, model, tokenizer)
        for name, parameter in model.named_parameters():
            parameter.grad = step.grads[name]
        optimizer.step()
    after = evaluate([{"sft": {}}], rows, model, tokenizer)
    assert before.metrics["mean_token_accuracy"] < 1
    assert after.loss < 0.1
    assert after.metrics["mean_token_accuracy"] == 1.0


def test_the_recipe_is_an_objective() -> None:
    [part] = Objective.parse(sft(targets="all")["objective"], load()).entries
    assert (part.loss, part.targets) == (SFT(), "all")

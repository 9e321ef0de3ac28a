"""Losses of ratings, which TRL does not have: `regression` and `ordinal` against float64 arithmetic."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from burnish.testing import evaluate, tiny_model, tiny_tokenizer

LEVELS = [1.0, 2.0, 3.0, 4.0]
ROWS: list[dict[str, Any]] = [
    {"prompt": "The sky is ", "completion": "blue today.", "rating": 1.0},
    {"prompt": "Two and two: ", "completion": "5", "rating": 2.0},
    {"prompt": "Say nothing", "completion": "", "rating": 4.0},
]


def term(name: str, score: float, rating: float) -> float:
    """ordinal: P(y <= k) = 1 / (1 + e^(R - t_k)), t_k the logit of k / 4."""
    if name == "regression":
        return (score - rating) ** 2
    bounds = [-math.inf, *(math.log(k / (4 - k)) for k in (1, 2, 3)), math.inf]
    upper, lower = (1 / (1 + math.exp(min(score - bounds[place], 700))) for place in (int(rating), int(rating) - 1))
    return -math.log(upper - lower)


@pytest.mark.parametrize("name", ["regression", "ordinal"])
def test_scores_of_ratings(name: str) -> None:
    """R is the head's output at the end of sequence; the gradient is the slope along a random direction."""
    model, tokenizer = tiny_model("gpt2_classifier", torch.float64), tiny_tokenizer(chat=False)  # its norms are float64
    generator = torch.Generator().manual_seed(0)
    way = {key: torch.randn(one.shape, generator=generator, dtype=one.dtype) for key, one in model.named_parameters()}

    def loss(step: float = 0.0) -> float:
        terms = []
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                parameter.add_(way[key], alpha=step)
            for row in ROWS:
                ids = [*tokenizer(row["prompt"] + row["completion"])["input_ids"], tokenizer.eos_token_id]
                states = model.base_model(input_ids=torch.tensor([ids])).last_hidden_state
                terms.append(term(name, model.score(states)[0, -1, 0].item(), row["rating"]))
            for key, parameter in model.named_parameters():
                parameter.sub_(way[key], alpha=step)
        return float(np.mean(terms))

    ours = evaluate([{name: {"levels": LEVELS} if name == "ordinal" else {}}], ROWS, model, tokenizer, micro_batches=2)
    assert ours.loss == pytest.approx(loss(), rel=1e-9)
    slope = (loss(1e-6) - loss(-1e-6)) / 2e-6
    assert slope == pytest.approx(sum(float((ours.grads[key] * way[key]).sum()) for key in way), rel=1e-5)

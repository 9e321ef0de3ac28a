"""WPO: weights by hand, degenerate case, and its product and missing gradient beside a loss."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from burnish_wpo.loss import WPO

from burnish.model.signals import sum_p2
from burnish.testing import evaluate, sequences, tiny_model, tiny_tokenizer

ROWS = [
    {"prompt": "one and ", "chosen": "two", "rejected": "ten"},
    {"prompt": "the sky is ", "chosen": "blue", "rejected": "a cheese"},
]


def test_weights_by_hand() -> None:
    # p = .5 under sum p^2 = .25, and p = .1 under .8: sqrt(2 / 8) = .5; p = .3 under .4: .75
    batch = sequences(
        [[math.log(0.5), math.log(0.1)], [math.log(0.3)]], signals={sum_p2(): [[0.25, 0.8], [0.4]]}
    )
    assert WPO()(batch).sequence.tolist() == pytest.approx([0.5, 0.75])


def test_even_distributions_weigh_one() -> None:
    assert WPO()(sequences([[-math.log(8)] * 3], signals={sum_p2(): [[1 / 8] * 3]})).sequence.tolist() == pytest.approx([1.0])


def flat(grads: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([gradient.flatten() for gradient in grads.values()])


@pytest.mark.parametrize("loss", [{"dpo": {}}, {"sft": {"on": "chosen"}}, {"aot": {}}])
def test_a_term_is_multiplied_by_a_number(loss: dict[str, dict[str, Any]]) -> None:
    """One row: the weighted loss and gradient are the plain ones times one number, the same for both."""
    policy, reference = (tiny_model("gpt2", torch.float64, seed=seed) for seed in (0, 1))
    [(name, options)] = loss.items()
    plain, weighed = (
        evaluate([{name: {**options, **more}}], ROWS[1:], policy, tiny_tokenizer(chat=False), reference=reference)
        for more in ({}, {"weights": ["wpo"]})
    )
    factor = weighed.loss / plain.loss
    assert 0 < factor != 1
    torch.testing.assert_close(flat(weighed.grads), factor * flat(plain.grads), rtol=1e-9, atol=1e-12)


def test_a_pair_is_multiplied_by_both_sides() -> None:
    policy, reference = (tiny_model("gpt2", torch.float64, seed=seed) for seed in (0, 1))
    pair, plain, *sides = (
        evaluate([objective], ROWS[:1], policy, tiny_tokenizer(chat=False), reference=reference)
        for objective in (
            {"dpo": {"weights": ["wpo"]}},
            {"dpo": {}},
            {"sft": {"on": "chosen", "weights": ["wpo"]}},
            {"sft": {"on": "rejected", "weights": ["wpo"]}},
        )
    )
    weights = math.prod(side.metrics["wpo_weights"] for side in sides)
    assert pair.loss == pytest.approx(weights * plain.loss)

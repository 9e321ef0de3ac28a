"""The processed distribution and the draw from it, against numbers derived by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.config.sections import SamplingSection
from burnish.rollout.distribution import draw, penalised, processed, random_stream

# Logits log(1/2), log(1/4), log(1/8), log(1/8): a distribution whose every truncation is a small fraction.
LOGITS = torch.tensor([[1 / 8, 1 / 2, 1 / 8, 1 / 4]], dtype=torch.float64).log()


def sampling(**given: Any) -> SamplingSection:
    return SamplingSection(**{"temperature": 1.0, **given})


def probabilities(**given: Any) -> list[float]:
    """Processed probabilities in the order of tokens."""
    scores, tokens_of = processed(LOGITS, sampling(**given))
    logp = scores.log_softmax(-1)
    by_token = logp if tokens_of is None else torch.full_like(LOGITS, -torch.inf).scatter(-1, tokens_of, logp)
    return by_token.exp()[0].tolist()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [1 / 8, 1 / 2, 1 / 8, 1 / 4]),
        # Temperature 1/2 squares: 1/64, 16/64, 1/64, 4/64, which sum to 22/64.
        ({"temperature": 0.5}, [1 / 22, 16 / 22, 1 / 22, 4 / 22]),
        ({"top_k": 2}, [0, 2 / 3, 0, 1 / 3]),
        ({"top_k": 100}, [1 / 8, 1 / 2, 1 / 8, 1 / 4]),
        # The smallest set with at least .6 is {1/2, 1/4}; with at least .5 it is {1/2}.
        ({"top_p": 0.6}, [0, 2 / 3, 0, 1 / 3]),
        ({"top_p": 0.5}, [0, 1, 0, 0]),
        ({"top_p": 1e-9}, [0, 1, 0, 0]),
        # At least .3 of the largest probability, 1/2: tokens with .15 or more.
        ({"min_p": 0.3}, [0, 2 / 3, 0, 1 / 3]),
        # In this order: top_k 2 leaves 2/3 and 1/3, of which top_p .66 keeps the first.
        ({"top_k": 2, "top_p": 0.66}, [0, 1, 0, 0]),
    ],
)
def test_processed_probabilities(given: dict[str, Any], expected: list[float]) -> None:
    assert probabilities(**given) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
def test_the_likeliest_tokens_that_hold_a_share_are_those_of_a_whole_sort(spread: float) -> None:
    """From nearly all of 1500 tokens to a handful, in rows that need very different numbers of them."""
    logits = torch.randn(3, 1500, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * spread
    logits[1] *= 0.1
    logits[2, 7:9] = logits[2].amax()  # equal ones keep their order
    scores, tokens_of = processed(logits, sampling(top_p=0.9))
    logp = scores.log_softmax(-1)
    ordered, ids = logits.log_softmax(-1).sort(dim=-1, descending=True, stable=True)
    inside = ordered.exp().cumsum(-1) - ordered.exp() < 0.9
    assert tokens_of is not None
    for row, count in enumerate(inside.sum(-1).tolist()):
        assert tokens_of[row, :count].tolist() == ids[row, :count].tolist()
        torch.testing.assert_close(logp[row, :count], ordered[row, :count].log_softmax(-1))
        assert logp[row, count:].isneginf().all()


def test_a_share_may_end_at_the_least_likely_of_tokens() -> None:
    logits = torch.tensor([[0.4e-9, 1 - 1e-9, 0.6e-9]], dtype=torch.float64).log()
    logp, tokens_of = processed(logits, sampling(top_p=1 - 0.5e-9))
    assert tokens_of is not None
    assert tokens_of.tolist() == [[1, 2, 0]]
    assert logp.isfinite().tolist() == [[True, True, False]]


def test_a_row_that_needs_many_tokens_changes_nothing_of_its_neighbours() -> None:
    sharp = torch.randn(1, 1500, generator=torch.Generator().manual_seed(1)).round(decimals=1) * 3  # with many equal ones
    flat = torch.zeros(1, 1500)
    alone, tokens_of = processed(sharp, sampling(top_p=0.9))
    beside, tokens_beside = processed(torch.cat([sharp, flat]), sampling(top_p=0.9))
    assert tokens_of is not None
    assert tokens_beside is not None
    count = int(alone.isfinite().sum())
    assert count < tokens_of.shape[-1] < tokens_beside.shape[-1]
    assert tokens_of[0, :count].tolist() == tokens_beside[0, :count].tolist()
    torch.testing.assert_close(alone[0, :count], beside[0, :count], rtol=0, atol=1e-6)


def test_a_repetition_penalty_divides_what_is_positive_and_multiplies_what_is_not() -> None:
    logits, seen = torch.tensor([[2.0, -1.0, 3.0, 0.0]]), torch.tensor([[True, True, False, True]])
    assert penalised(logits, seen, 2.0).tolist() == [[1.0, -2.0, 3.0, 0.0]]
    assert penalised(logits, seen, 0.5).tolist() == [[4.0, -0.5, 3.0, 0.0]]
    # With token 2 seen and penalty 4, the most likely token is 0; the log-probability said is the model's own.
    greedy = sampling(temperature=0.0, repetition_penalty=4.0)
    tokens, logps, _ = draw(torch.tensor([[2.0, -1.0, 3.0]]), torch.tensor([0.5]), greedy, torch.tensor([[False, True, True]]))
    assert tokens.tolist() == [0]
    assert logps.tolist() == pytest.approx([2 - math.log(math.exp(2) + math.exp(-1) + math.exp(3))])


@pytest.mark.parametrize("given", [{}, {"top_p": 0.999}])
def test_draw_inverts_the_cumulative_distribution(given: dict[str, Any]) -> None:
    # In order of tokens the cumulative is 1/8, 5/8, 6/8, 1; sorted it is 1/2, 3/4, 7/8 (token 0 or 2), 1.
    uniforms = [0.0, 0.2, 0.7, 0.99]
    tokens, logps, _ = draw(LOGITS.repeat(4, 1), torch.tensor(uniforms), sampling(**given))
    if not given:
        assert tokens.tolist() == [0, 1, 2, 3]
    else:
        assert tokens.tolist()[:3] == [1, 1, 3]
    assert logps.tolist() == pytest.approx(LOGITS[0, tokens].tolist(), abs=1e-6)


def test_draw_never_takes_a_token_of_no_probability() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf]]).repeat(2, 1)
    tokens, logps, _ = draw(logits, torch.tensor([0.0, 1 - 2**-24]), sampling())
    assert tokens.tolist() == [1, 1]
    assert logps.tolist() == [0, 0]


@settings(max_examples=25, deadline=None)
@given(columns=st.sampled_from([1, 3, 255, 256, 257, 511, 512, 1000]), seed=st.integers(0, 2**31), holes=st.booleans())
def test_a_large_vocabulary_is_inverted_as_a_whole(columns: int, seed: int, holes: bool) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(6, columns)) * 3
    if holes:
        logits[:, random.random(columns) < 0.7] = -np.inf
        logits[:, random.integers(columns)] = 0
    uniforms = np.array([0.0, *random.random(4), 1 - 2**-24])
    cumulative = np.cumsum(np.exp(logits), -1)
    expected = [int(np.searchsorted(row, u * row[-1], side="right")) for row, u in zip(cumulative, uniforms, strict=True)]
    tokens, *_ = draw(torch.from_numpy(logits), torch.from_numpy(uniforms), sampling())
    assert tokens.tolist() == expected


def test_greedy_gives_the_models_own_log_probability() -> None:
    tokens, logps, _ = draw(LOGITS, torch.tensor([0.9]), sampling(temperature=0.0, top_k=1))
    assert tokens.tolist() == [1]
    assert logps.item() == pytest.approx(math.log(1 / 2))


def test_many_draws_have_the_frequencies_of_the_distribution() -> None:
    uniforms = torch.from_numpy(random_stream(0, [1], 0, 4000))
    tokens, *_ = draw(LOGITS.repeat(4000, 1), uniforms, sampling())
    # Standard deviation of a frequency of 1/2 over 4000 draws: .008.
    assert (tokens.bincount(minlength=4) / 4000).tolist() == pytest.approx([1 / 8, 1 / 2, 1 / 8, 1 / 4], abs=0.03)


def test_random_stream_is_a_function_of_seed_prompt_and_occurrence() -> None:
    first = random_stream(1, [5, 6], 0, 8)
    assert np.array_equal(first, random_stream(1, [5, 6], 0, 8))
    assert np.array_equal(first[:3], random_stream(1, [5, 6], 0, 3))
    for other in (random_stream(2, [5, 6], 0, 8), random_stream(1, [6, 5], 0, 8), random_stream(1, [5, 6], 1, 8)):
        assert not np.array_equal(first, other)
    assert ((first >= 0) & (first < 1)).all()


def test_the_likeliest_tokens_are_those_that_could_have_been_drawn() -> None:
    drawn = draw(LOGITS, torch.tensor([0.9]), sampling(), likeliest=2)
    assert drawn.likeliest is not None
    ids, logps = drawn.likeliest
    assert ids.tolist() == [[1, 3]]
    assert logps.exp().tolist() == [pytest.approx([1 / 2, 1 / 4])]
    assert draw(LOGITS, torch.tensor([0.9]), sampling()).likeliest is None


@pytest.mark.parametrize("given", [{"top_k": 2}, {"top_p": 0.6}, {"min_p": 0.3}])
def test_where_fewer_can_be_drawn_fewer_are_said(given: dict[str, Any]) -> None:
    drawn = draw(LOGITS, torch.tensor([0.9]), sampling(**given), likeliest=5)
    assert drawn.likeliest is not None
    assert drawn.likeliest[0].tolist() == [[1, 3, -1, -1, -1]]
    assert drawn.likeliest[1].tolist() == [pytest.approx([math.log(2 / 3), math.log(1 / 3), 0, 0, 0])]

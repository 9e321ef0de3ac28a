"""Batches with given numbers: the views show them, and gradients come back per token."""

from __future__ import annotations

import pytest
import torch

from burnish.errors import ObjectiveError
from burnish.model.signals import sum_p2
from burnish.objective import Ragged, Terms
from burnish.testing import lists, pairs, sequences, triples, values_of


def test_pairs_show_what_was_given() -> None:
    batch = pairs(
        [[-1.0, -2.0], [-3.0]], [[-4.0], []], reference=([[-1.5, -2.0], [-3.0]], [[-5.0], []]), scalars={"margin": [1.0, 2.0]}
    )
    assert len(batch) == 2
    assert batch.chosen.lengths.tolist() == [2, 1]
    assert batch.chosen.log_ratio.values.tolist() == [0.5, 0.0, 0.0]
    assert batch.rejected.logp.sum().tolist() == [-4.0, 0.0]
    assert batch.scalar("margin").tolist() == [1.0, 2.0]


def test_without_a_reference_there_is_none() -> None:
    with pytest.raises(ObjectiveError, match="reference"):
        _ = pairs([[-1.0]], [[-2.0]]).chosen.log_ratio


def test_triples_have_a_gold_answer() -> None:
    assert triples([[-1.0]], [[-2.0]], [[-3.0, -4.0]]).gold.logp.sum().tolist() == [-7.0]


def test_lists_have_items() -> None:
    batch = lists([[[-1.0], [-2.0, -3.0]], [[-4.0]]], reference=[[[0.0], [0.0, 0.0]], [[-4.0]]])
    assert batch.per_list(batch.items.log_ratio.sum()).sum().tolist() == [-6.0, 0.0]


def test_sequences_have_derived_ones_and_further_signals() -> None:
    batch = sequences(
        [[-1.0], [-2.0]],
        reference=[[-1.0], [-1.0]],
        signals={sum_p2(): [[0.5], [0.25]]},
        derived={"other": ([[-3.0, -1.0], [-4.0]], [[-3.0, -3.0], [-3.0]])},
        statistic={"z": 2.0},
    )
    assert batch.signal(sum_p2()).values.tolist() == [0.5, 0.25]
    assert batch.derived("other").log_ratio.sum().tolist() == [2.0, -1.0]
    assert batch.statistic["z"] == 2.0


def test_only_the_policy_carries_a_gradient() -> None:
    batch = pairs([[-1.0]], [[-2.0]], reference=([[-1.0]], [[-1.0]]))
    loss = (batch.chosen.log_ratio.sum() - 2 * batch.rejected.log_ratio.sum()).sum()
    chosen, rejected = torch.autograd.grad(loss, (batch.chosen.logp.values, batch.rejected.logp.values))
    assert (chosen.tolist(), rejected.tolist()) == ([1.0], [-2.0])


def test_the_terms_of_a_level() -> None:
    values = torch.tensor([1.0, 2.0])
    assert values_of(Terms(pair=values), "pair") is values
    per_token = Ragged(values, torch.tensor([2]))
    assert values_of(Terms(token=per_token), "token") is per_token
    with pytest.raises(AssertionError, match="the loss gives a term for each pair, not for each token"):
        values_of(Terms(pair=values), "token")

"""KTO: numbers by hand, the reference point and its mismatched answers, degenerate cases, gradients, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from burnish_kto.loss import KTO, mismatched
from burnish_kto.recipe import kto

from burnish.data.units import Sequence, Unit
from burnish.objective import SequenceReward, Sequences
from burnish.testing import sequences


def batch(z: float) -> Sequences:
    """A good answer with r = 2 over two tokens, a bad one with r = -1 over one; the reference point z."""
    return sequences(
        [[-1.0, -1.0], [-3.0]],
        reference=[[-2.0, -2.0], [-2.0]],
        scalars={"label": [1.0, 0.0]},
        statistic={"z": torch.tensor(z, dtype=torch.float64)},
    )


def test_two_answers_by_hand() -> None:
    # good: 1 - sigmoid(.5 * (2 - 1)) = .3775407; bad: 1 - sigmoid(.5 * (1 + 1)) = .2689414, weight 2
    terms = KTO(beta=0.5, undesirable_weight=2.0)(batch(1.0))
    assert terms.sequence.tolist() == pytest.approx([0.3775407, 0.5378828], abs=1e-7)


@pytest.mark.parametrize(("first", "expected"), [(-1.0, 1.5), (-9.0, 0.0)])
def test_the_reference_point_is_the_mean_of_mismatched_rewards_but_not_below_zero(first: float, expected: float) -> None:
    # Rewards of the mismatched answers: -1 + 2 = 1 and (-1 + 2) + (-1 + 2) = 2, so 1.5; or -9 + 2 = -7 and 2, so less than 0.
    derived = {"mismatched": ([[first], [-1.0, -1.0]], [[-2.0], [-2.0, -2.0]])}
    found, state = KTO().statistic(sequences([[-1.0], [-1.0]], reference=[[-1.0], [-1.0]], derived=derived), None)
    assert found["z"].item() == expected
    assert state is None


def sequence(ids: list[int], first_target: int) -> Sequence:
    places = np.arange(len(ids))
    return Sequence(np.array(ids), {"completion": places >= first_target, "all": places > 0}, scalars={"label": 1.0})


def test_a_mismatched_answer_is_one_prompt_and_anothers_answer() -> None:
    joined = mismatched(sequence([1, 2, 3, 4], 2), sequence([5, 6, 7], 1))
    assert joined.ids.tolist() == [1, 2, 6, 7]
    assert joined.masks["completion"].tolist() == [False, False, True, True]
    assert joined.masks["all"].tolist() == [False, True, True, True]
    assert joined.role == "mismatched"


def test_derived_answers_follow_the_pairing() -> None:
    units = tuple(Unit("unpaired", (sequence(ids, 1),)) for ids in ([1, 10], [2, 20], [3, 30]))
    derived = KTO().derive(units, (2, 0, 1))
    assert [[one.ids.tolist() for one in extra] for extra in derived] == [[[1, 30]], [[2, 10]], [[3, 20]]]


def test_policy_equal_to_reference() -> None:
    same = sequences(
        [[-1.0], [-3.0]],
        reference=[[-1.0], [-3.0]],
        scalars={"label": [1.0, 0.0]},
        statistic={"z": torch.tensor(0.0, dtype=torch.float64)},
    )
    assert KTO(desirable_weight=3.0)(same).sequence.tolist() == [1.5, 0.5]


def test_the_gradient_raises_good_and_lowers_bad_answers() -> None:
    one = batch(1.0)
    [gradient] = torch.autograd.grad(KTO()(one).sequence.sum(), one.logp.values)
    assert gradient.sign().tolist() == [-1.0, -1.0, 1.0]


def test_metrics_are_of_the_answers_with_that_mark() -> None:
    metrics = KTO(beta=0.5)(batch(1.0)).metrics
    assert metrics["kl"].values.tolist() == [1.0, 1.0]
    assert metrics["rewards/chosen"].values.tolist() == pytest.approx([1.0, -0.5])
    assert metrics["rewards/chosen"].weights.tolist() == [1.0, 0.0]
    assert metrics["logps/rejected"].weights.tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("field", "value"), [("beta", 0.0), ("desirable_weight", -1.0), ("undesirable_weight", float("nan"))]
)
def test_refuses_values_out_of_range(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=r"beta|weights"):
        KTO(**{field: value})


def test_refuses_to_do_without_a_reference() -> None:
    with pytest.raises(ValueError, match="reference"):
        KTO(reward=SequenceReward(reference_free=True))


def test_the_recipe_hands_its_options_to_the_loss() -> None:
    assert kto(undesirable_weight=1.5)["objective"][0]["kto"]["undesirable_weight"] == 1.5

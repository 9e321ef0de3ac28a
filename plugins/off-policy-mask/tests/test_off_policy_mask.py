"""Off-policy sequence masking by hand."""

from __future__ import annotations

import pytest
from burnish_off_policy_mask.loss import OffPolicyMask

from burnish.model.signals import logp
from burnish.testing import values_of
from burnish.testing.batches import sequences


def test_only_bad_answers_that_have_become_unlikely_are_masked() -> None:
    # mean of ls - lp: .75, .75, .25, and -2 for one that has become likelier
    given = sequences(
        [[-2.0, -1.0], [-2.0, -1.0], [-1.0], [-1.0]],
        signals={logp("behaviour"): [[-1.0, -0.5], [-1.0, -0.5], [-0.75], [-3.0]]},
        fields={"advantages": [[-1.0, -1.0], [1.0, 0.0], [-1.0], [-1.0]]},
    )
    terms = values_of(OffPolicyMask()(given), "token")
    assert terms.values.tolist() == [0, 0, 1, 1, 1, 1]
    stricter = values_of(OffPolicyMask(threshold=0.2)(given), "token")
    assert stricter.values.tolist() == [0, 0, 1, 1, 0, 1]


def test_it_may_look_at_the_rollout_s_policy_instead() -> None:
    given = sequences([[-2.0]], signals={logp("old"): [[-1.0]]}, fields={"advantages": [[-1.0]]})
    mask = OffPolicyMask(against="old")
    assert mask.signals() == {logp(), logp("old")}
    terms = values_of(mask(given), "token")
    assert terms.values.tolist() == [0]


def test_a_threshold_is_a_number() -> None:
    with pytest.raises(ValueError, match="threshold"):
        OffPolicyMask(threshold=float("nan"))


def test_the_distance_is_a_mean_and_the_threshold_belongs_to_what_is_kept() -> None:
    # .375 and .375: the mean is the threshold, the sum beyond it
    given = sequences([[-1.0, -1.0]], signals={logp("behaviour"): [[-0.625, -0.625]]}, fields={"advantages": [[-1.0, -1.0]]})
    terms = values_of(OffPolicyMask(threshold=0.375)(given), "token")
    assert terms.values.tolist() == [1, 1]

"""Losses of a gap, by hand."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from burnish.objective import Form, check_smoothing, contrast, logistic

GAP = torch.tensor([2.0, 0.0], dtype=torch.float64)


def test_the_logistic_loss() -> None:
    # log(1 + e^-2) = .1269280, log 2; smoothed by .25: .75 * .1269280 + .25 * 2.1269280 = .6269280
    assert logistic(GAP).tolist() == pytest.approx([0.1269280, 0.6931472], abs=1e-7)
    assert logistic(GAP, 0.25).tolist() == pytest.approx([0.6269280, 0.6931472], abs=1e-7)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("sigmoid", [0.3132617, 0.6931472]),  # log(1 + e^-1), log 2
        ("hinge", [0.0, 1.0]),  # 1 - .5 * 2, 1
        ("ipo", [1.0, 1.0]),  # (2 - 1)^2, (0 - 1)^2
    ],
)
def test_the_forms(form: Form, expected: list[float]) -> None:
    assert contrast(form, GAP, beta=0.5).tolist() == pytest.approx(expected, abs=1e-7)


def test_smoothing_is_a_share_below_one_half_and_belongs_to_one_form() -> None:
    for form in get_args(Form):
        check_smoothing(0.0, form)
    check_smoothing(0.4)
    for share in (-0.1, 0.5, float("nan")):
        with pytest.raises(ValueError, match="label_smoothing must lie"):
            check_smoothing(share)
    with pytest.raises(ValueError, match="hinge"):
        check_smoothing(0.1, "hinge")

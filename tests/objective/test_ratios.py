"""The clipped surrogate on numbers written by hand; packages test what they make of it."""

from __future__ import annotations

import math

import pytest
import torch

from burnish.objective import Ragged, check_clip, clip_metrics, clipped, ratio_of

LENGTHS = torch.tensor([2, 1])


def ragged(*values: float) -> Ragged:
    return Ragged(torch.tensor(values, dtype=torch.float64, requires_grad=True), LENGTHS)


def test_ratios_are_numbers_however_far_models_are_apart() -> None:
    assert ratio_of(ragged(0.0, math.log(2), 1000.0)).values.tolist() == pytest.approx([1.0, 2.0, math.exp(80)])


def test_clipping_holds_what_the_advantage_pushes_on() -> None:
    # -min(1.5, 1.2), -min(-1.5, -1.2), -min(min(3, 2) * -1, 1.2 * -1)
    ratio = ragged(1.5, 1.5, 3.0)
    terms = clipped(ratio, ragged(1.0, -1.0, -1.0), 0.2, 0.2, delta=2.0)
    assert terms.values.tolist() == pytest.approx([-1.2, 1.5, 2.0])
    [slope] = torch.autograd.grad(terms.values.sum(), [ratio.values])
    assert slope.tolist() == [0.0, 1.0, 0.0]


def test_means_are_over_tokens_or_over_sequences() -> None:
    ratio, advantages = ragged(1.5, 1.0, 1.5), ragged(1.0, 1.0, 1.0)
    by_token = clip_metrics(ratio, advantages, 0.2, 0.2)["clip_ratio/high_mean"].values
    by_sequence = clip_metrics(ratio, advantages, 0.2, 0.2, per_sequence=True)["clip_ratio/high_mean"].values
    assert isinstance(by_token, Ragged)
    assert by_token.values.tolist() == [1, 0, 1]
    assert isinstance(by_sequence, torch.Tensor)
    assert by_sequence.tolist() == [0.5, 1]


@pytest.mark.parametrize(
    ("bounds", "message"),
    [((1.0, None), "epsilon"), ((math.nan, None), "epsilon"), ((0.2, -1), "epsilon_high"), ((0.2, 0.5, 1.4), "above 1.5")],
)
def test_bounds_are_in_order(bounds: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_clip(*bounds)

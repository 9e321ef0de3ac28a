"""Importance correction by hand: both modes at both levels."""

from __future__ import annotations

import math

import pytest
from burnish_is_correction.loss import ISCorrection

from burnish.errors import ConfigError
from burnish.model.signals import logp
from burnish.objective import Sequences
from burnish.objective.compose import Objective
from burnish.registry import load
from burnish.testing import values_of
from burnish.testing.batches import sequences

RATIOS = [[2.0, 4.0], [0.5], [2.0, 1.25]]  # exp(lo - ls); of the sequences: 8, .5, 2.5


def batch() -> Sequences:
    silent = [[-1.0] * len(row) for row in RATIOS]
    sampled = [[-1.0 - math.log(one) for one in row] for row in RATIOS]
    return sequences(silent, signals={logp("old"): silent, logp("behaviour"): sampled})


@pytest.mark.parametrize(
    ("mode", "floor", "expected"),
    [
        ("truncate", 0.0, [2.0, 3.0, 0.5, 2.0, 1.25]),
        ("truncate", 0.8, [2.0, 3.0, 0.8, 2.0, 1.25]),
        ("mask", 0.0, [2.0, 0.0, 0.5, 2.0, 1.25]),
        ("mask", 0.8, [2.0, 0.0, 0.0, 2.0, 1.25]),
    ],
)
def test_tokens(mode: str, floor: float, expected: list[float]) -> None:
    terms = values_of(ISCorrection(mode=mode, floor=floor)(batch()), "token")  # type: ignore[arg-type]
    assert terms.values.tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("mode", "expected"), [("truncate", [3.0, 0.5, 2.5]), ("mask", [0.0, 0.5, 2.5])])
def test_sequences(mode: str, expected: list[float]) -> None:
    terms = ISCorrection(mode=mode, level="sequence")(batch())  # type: ignore[arg-type]
    per_sequence = values_of(terms, "sequence")
    assert per_sequence.tolist() == pytest.approx(expected)
    assert {metric.how for metric in terms.metrics.values()} == {"min", "mean", "max"}


@pytest.mark.parametrize("mode", ["truncate", "mask"])
def test_ratios_beyond_all_numbers_are_bounded_too(mode: str) -> None:
    far = sequences([[-1.0]], signals={logp("old"): [[-1.0]], logp("behaviour"): [[-1000.0]]})
    terms = values_of(ISCorrection(mode=mode, level="sequence")(far), "sequence")  # type: ignore[arg-type]
    assert terms.tolist() == [3.0 if mode == "truncate" else 0.0]


@pytest.mark.parametrize("options", [{"cap": 0}, {"floor": 4.0}, {"mode": "drop"}])
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        Objective.parse([{"grpo": {"weights": [{"is_correction": options}]}}], load())


def test_bounds_belong_to_what_is_kept() -> None:
    agreed = [[-1.0]]
    given = sequences(agreed, signals={logp("old"): agreed, logp("behaviour"): agreed})
    terms = values_of(ISCorrection(mode="mask", cap=1.0, floor=1.0)(given), "token")
    assert terms.values.tolist() == [1.0]

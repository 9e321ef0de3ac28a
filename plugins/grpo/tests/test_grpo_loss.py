"""GRPO on numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from burnish_grpo.loss import GRPO

from burnish.errors import ConfigError
from burnish.model.signals import logp
from burnish.objective import Sequences, Terms
from burnish.objective.compose import Objective
from burnish.registry import load
from burnish.testing import values_of
from burnish.testing.batches import sequences


def batch(ratios: list[list[float]], advantages: list[list[float]]) -> Sequences:
    """Policy at log rho, policy at the rollout at 0: rho is what is given."""
    return sequences(
        [[math.log(one) for one in row] for row in ratios],
        signals={logp("old"): [[0.0] * len(row) for row in ratios]},
        fields={"advantages": advantages},
    )


def gradient(value: torch.Tensor, given: Sequences) -> list[float]:
    [found] = torch.autograd.grad(value, [given.logp.values])
    numbers: list[float] = found.tolist()
    return numbers


def token_terms(terms: Terms) -> torch.Tensor:
    per_token = values_of(terms, "token")
    return per_token.values


@pytest.mark.parametrize(
    ("rho", "advantage", "expected", "slope"),
    [
        (1.0, 2.0, -2.0, -2.0),  # -rho A; d/dlp = -rho A
        (1.1, 2.0, -2.2, -2.2),  # inside the bounds
        (1.5, 2.0, -2.4, 0.0),  # min(1.5 * 2, 1.2 * 2): clipped, no gradient
        (0.5, 2.0, -1.0, -1.0),  # min(.5 * 2, .8 * 2): low ratios are not clipped for a positive advantage
        (0.5, -2.0, 1.6, 0.0),  # min(-1, -1.6): clipped
        (1.5, -2.0, 3.0, 3.0),  # min(-3, -2.4): high ratios are not clipped for a negative one
        (9.0, -2.0, 18.0, 18.0),
        (0.5, 0.0, 0.0, 0.0),
    ],
)
def test_the_clipped_surrogate(rho: float, advantage: float, expected: float, slope: float) -> None:
    given = batch([[rho]], [[advantage]])
    loss = token_terms(GRPO()(given))
    assert loss.tolist() == pytest.approx([expected])
    assert gradient(loss.sum(), given) == pytest.approx([slope])


def test_at_the_boundary_both_branches_agree_and_the_gradient_is_whole() -> None:
    given = sequences([[0.0, 0.0]], signals={logp("old"): [[0.0, 0.0]]}, fields={"advantages": [[1.0, -1.0]]})
    loss = token_terms(GRPO(epsilon=0.0)(given))  # clip(1, 1, 1): rho = 1 lies on both bounds
    assert loss.tolist() == [-1.0, 1.0]
    assert gradient(loss.sum(), given) == pytest.approx([-1.0, 1.0])


def test_clip_higher_and_dual_clipping() -> None:
    # rho 1.25 with A = 1: free under epsilon_high .28. rho 9 with A = -1: held at delta 2, so 2 and no gradient
    given = batch([[1.25], [9.0]], [[1.0], [-1.0]])
    loss = token_terms(GRPO(epsilon_high=0.28, delta=2.0)(given))
    assert loss.tolist() == pytest.approx([-1.25, 2.0])
    assert gradient(loss.sum(), given) == pytest.approx([-1.25, 0.0])


def test_levels_of_the_ratio() -> None:
    # log-ratios .1 and .05: their sum is .15, their mean .075; A = 1, both inside the bounds; d/dlp of each token
    given = sequences([[0.1, 0.05]], signals={logp("old"): [[0.0, 0.0]]}, fields={"advantages": [[1.0, 1.0]]})
    for level, log_ratio, share in (("sequence_sum", 0.15, 1.0), ("sequence_mean", 0.075, 0.5)):
        terms = values_of(GRPO(level=level)(given), "sequence")  # type: ignore[arg-type]
        assert terms.tolist() == pytest.approx([-math.exp(log_ratio)])
        assert gradient(terms.sum(), given) == pytest.approx([-share * math.exp(log_ratio)] * 2)


def test_a_sequence_s_ratio_meets_advantages_per_token() -> None:
    # rho = e^.3 = 1.35 for both tokens; -min(1.35, 1.2) and -min(-1.35, -1.2), then their mean
    given = sequences([[0.4, 0.2]], signals={logp("old"): [[0.0, 0.0]]}, fields={"advantages": [[1.0, -1.0]]})
    terms = values_of(GRPO(level="sequence_mean")(given), "sequence")
    assert terms.tolist() == pytest.approx([(-1.2 + math.exp(0.3)) / 2])


def test_how_often_it_clips() -> None:
    given = batch([[1.5, 1.0], [0.5, 0.5]], [[1.0, 1.0], [-1.0, 1.0]])
    metrics = GRPO()(given).metrics
    found = {name.removeprefix("clip_ratio/"): metric.values for name, metric in metrics.items() if "clip" in name}
    assert found["high_mean"].values.tolist() == [1, 0, 0, 0]  # type: ignore[union-attr]
    assert found["low_mean"].values.tolist() == [0, 0, 1, 0]  # type: ignore[union-attr]
    assert found["region_mean"].values.tolist() == [1, 0, 1, 0]  # type: ignore[union-attr]
    assert found["high_max"].tolist() == [0.5, 0]  # type: ignore[union-attr]
    assert found["low_min"].tolist() == [0, 0.5]  # type: ignore[union-attr]


def test_the_level_decides_on_the_reduction_unless_the_config_does() -> None:
    def reduction(**options: object) -> str:
        [entry] = Objective.parse([{"grpo": options}], load()).entries
        return str(entry.reduction)

    assert reduction() == "token_mean"
    assert reduction(level="sequence_sum") == "sequence_mean"
    assert reduction(reduction="constant(64)") == "constant(64)"


@pytest.mark.parametrize(
    "options", [{"epsilon": -0.1}, {"epsilon": 1}, {"epsilon_high": -1}, {"delta": 1.2}, {"level": "word"}]
)
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        Objective.parse([{"grpo": options}], load())


def test_what_is_clipped_is_counted_on_either_side() -> None:
    # bounds .8 and 1.4: 1.5 is cut for A > 0 and .7 for A < 0, 1.3 and .9 for neither
    terms = GRPO(epsilon=0.2, epsilon_high=0.4)(batch([[1.5, 1.3, 0.7, 0.9]], [[1.0, 1.0, -1.0, -1.0]]))
    clips = {name: terms.metrics[f"clip_ratio/{name}_mean"].values for name in ("low", "high")}
    assert {name: one.values.tolist() for name, one in clips.items() if not isinstance(one, torch.Tensor)} == {
        "low": [0, 0, 1, 0],
        "high": [1, 0, 0, 0],
    }

"""Estimators of the divergence on numbers worked out by hand, and against the divergence itself."""

from __future__ import annotations

import math

import pytest
import torch
from burnish_kl.loss import KL

from burnish.model.signals import logp
from burnish.objective import Sequences
from burnish.testing import values_of
from burnish.testing.batches import sequences

P, Q = (0.5, 0.3, 0.2), (0.2, 0.2, 0.6)  # a policy and a reference over three tokens


@pytest.mark.parametrize(
    ("estimator", "terms", "slopes"),
    [
        ("k1", [0.5, -1.0], [1.0, 1.0]),
        ("k2", [0.125, 0.5], [0.5, -1.0]),  # d^2 / 2, d
        ("k3", [math.exp(-0.5) - 0.5, math.e - 2], [1 - math.exp(-0.5), 1 - math.e]),  # e^-d - 1 + d, 1 - e^-d
    ],
)
def test_the_estimators(estimator: str, terms: list[float], slopes: list[float]) -> None:
    given = sequences([[-1.0, -2.0]], reference=[[-1.5, -1.0]])  # d = .5 and -1
    loss = values_of(KL(estimator=estimator)(given), "token")  # type: ignore[arg-type]
    assert loss.values.tolist() == pytest.approx(terms)
    [found] = torch.autograd.grad(loss.values.sum(), [given.logp.values])
    assert found.tolist() == pytest.approx(slopes)


def test_corrected_by_the_ratio_with_its_gradient() -> None:
    # d = .5, k3 = e^-.5 - .5 = .1065; rho = e^.2; d/dlp = rho k3 + rho (1 - e^-.5)
    given = sequences([[-1.0]], reference=[[-1.5]], signals={logp("old"): [[-1.2]]})
    loss = values_of(KL(corrected=True)(given), "token")
    k3, rho = math.exp(-0.5) - 0.5, math.exp(0.2)
    assert loss.values.tolist() == pytest.approx([rho * k3])
    [found] = torch.autograd.grad(loss.values.sum(), [given.logp.values])
    assert found.tolist() == pytest.approx([rho * (k3 + 1 - math.exp(-0.5))])


def every_token() -> Sequences:
    """Each of the three tokens once; the policy is that of the rollout."""
    lp = [[math.log(one)] for one in P]
    return sequences(lp, reference=[[math.log(one)] for one in Q], signals={logp("old"): lp})


@pytest.mark.parametrize(
    ("estimator", "corrected", "is_true"),
    [("k1", False, False), ("k2", False, True), ("k3", False, False), ("k1", True, True), ("k3", True, True)],
)
def test_whose_gradient_is_the_divergence_s(estimator: str, corrected: bool, is_true: bool) -> None:
    """On average over the policy, d/dlogit of KL = sum p log(p / q) is p (log(p / q) - KL)."""
    given, p = every_token(), torch.tensor(P, dtype=torch.float64)
    loss = values_of(KL(estimator=estimator, corrected=corrected)(given), "token")  # type: ignore[arg-type]
    [slope] = torch.autograd.grad((loss.values * p).sum(), [given.logp.values])
    by_logit = slope - p * slope.sum()  # dlp_i / dlogit_j = [i = j] - p_j
    d = (p / torch.tensor(Q, dtype=torch.float64)).log()
    true = p * (d - (p * d).sum())
    assert torch.allclose(by_logit, true, atol=1e-6) == is_true
    if estimator != "k2":
        assert float((loss.values.detach() * p).sum()) == pytest.approx(float((p * d).sum()))


@pytest.mark.parametrize("corrected", [False, True])
def test_far_models_give_numbers(corrected: bool) -> None:
    """Exponents are at most 80: of d = -199.9, and of a policy 100 nats above what it was."""
    batch = sequences([[-200.0]], reference=[[-0.1]], signals={logp("old"): [[-300.0]]})
    loss = values_of(KL(corrected=corrected)(batch), "token")
    assert loss.values.tolist() == pytest.approx([(math.exp(80) - 1 - 199.9) * (math.exp(80) if corrected else 1)])


def test_the_metric_is_the_estimate() -> None:
    terms = KL(estimator="k2")(sequences([[-1.0, -2.0]], reference=[[-1.5, -1.0]]))
    values = terms.metrics["kl"].values
    assert values.values.tolist() == pytest.approx([0.125, 0.5])  # type: ignore[union-attr]


@pytest.mark.parametrize("corrected", [False, True])
def test_old_is_scored_only_to_correct_by(corrected: bool) -> None:
    assert (logp("old") in KL(corrected=corrected).signals()) == corrected

"""beta-DPO: betas and the running mean by hand, the draw, degenerate cases, gradients, refusals."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from burnish_beta_dpo.loss import BetaDPO, drawn

from burnish.objective import Pairs
from burnish.testing import pairs


def batch(*gaps: float, statistic: Any = None, **scalars: list[float]) -> Pairs:
    """Pairs whose reward gaps are these, with r_l = -2."""
    zeros, rejected = [[0.0] for _ in gaps], [[-2.0] for _ in gaps]
    return pairs([[gap - 2] for gap in gaps], rejected, reference=(zeros, zeros), scalars=scalars, statistic=statistic)


def statistic(loss: BetaDPO, of: Pairs, state: Any) -> Any:
    """As the core takes it: without gradient."""
    with torch.no_grad():
        return loss.statistic(of, state)


def test_the_first_batch_sets_the_mean() -> None:
    # M = (1 + 3) / 2 = 2, S = 1; b = .1 * (1 + .5 * (g - 2)) = .05 and .15
    found, state = statistic(BetaDPO(alpha=0.5), batch(1.0, 3.0), None)
    assert found["b"].tolist() == pytest.approx([0.05, 0.15])
    assert found["keep"].tolist() == [True, True]
    assert state == {"mean": 2.0, "std": 1.0, "batches": 1}


def test_later_batches_move_the_mean_before_they_use_it() -> None:
    # M = .9 * 2 + .1 * 7 = 2.5, S = .9 * 1 + .1 * 3 = 1.2; b = .1 * (1 + .2 * (g - 2.5)) = .13 and .25
    found, state = statistic(BetaDPO(alpha=0.2), batch(4.0, 10.0), {"mean": 2.0, "std": 1.0, "batches": 1})
    assert found["b"].tolist() == pytest.approx([0.13, 0.25])
    assert state == {"mean": pytest.approx(2.5), "std": pytest.approx(1.2), "batches": 2}
    assert json.loads(json.dumps(state)) == state


def test_beta_does_not_fall_to_zero() -> None:
    found, _ = statistic(BetaDPO(alpha=1.0), batch(-9.0, 9.0), None)
    assert found["b"].tolist() == pytest.approx([1e-3, 1.0])


def test_the_whole_batch_may_share_one_beta() -> None:
    # Mean gap 5 against M = .9 * 0 + .1 * 5 = .5: .1 * (1 + .6 * 4.5) = .37
    found, _ = statistic(BetaDPO(level="batch"), batch(4.0, 6.0), {"mean": 0.0, "std": 1.0, "batches": 1})
    assert found["b"].tolist() == pytest.approx([0.37, 0.37])


def test_the_draw_keeps_its_share_and_spares_outliers() -> None:
    loss = BetaDPO(keep=0.75)
    gaps = (0.0, 0.1, -0.1, 100.0)
    for batches in range(20):
        found, _ = statistic(loss, batch(*gaps), {"mean": -10.9, "std": -3.32, "batches": batches})
        assert found["keep"].tolist() == [True, True, True, False]


def test_the_draw_keeps_one_pair_at_least() -> None:
    found, _ = statistic(BetaDPO(keep=0.1), batch(0.0, 1.0, 2.0), None)
    assert found["keep"].sum() == 1


def test_the_draw_is_a_function_of_batch_and_state() -> None:
    of = batch(*(float(gap) for gap in range(8)))
    states = [{"mean": 3.5, "std": 9.0, "batches": seed} for seed in (1, 1, 2, 3)]
    drawn = [statistic(BetaDPO(keep=0.5), of, state)[0]["keep"] for state in states]
    assert drawn[0].tolist() == drawn[1].tolist()
    assert any(drawn[0].tolist() != other.tolist() for other in drawn[2:])


def test_the_draw_has_gaussian_weights() -> None:
    # (g - M) / S is 0, 1, 2, so the weights are 1, e^-.5 and e^-2; 4000 draws of one, standard error below .008.
    gaps = torch.tensor([0.5, 1.0, 1.5])
    counts = sum(drawn(gaps, mean=0.5, std=0.5, count=1, seed=seed).double() for seed in range(4000))
    weights = torch.tensor([1.0, math.exp(-0.5), math.exp(-2.0)], dtype=torch.float64)
    torch.testing.assert_close(counts / 4000, weights / weights.sum(), atol=0.025, rtol=0)


def test_a_pair_by_hand() -> None:
    # h = .5 * 3 = 1.5, and with a margin of 1.5 nothing is left.
    b = {"b": torch.tensor([0.5, 0.5], dtype=torch.float64)}
    terms = BetaDPO()(batch(3.0, 3.0, statistic=b, margin=[0.0, 1.5]))
    assert terms.pair.tolist() == pytest.approx([math.log1p(math.exp(-1.5)), math.log(2)])
    assert terms.metrics["beta"].values.tolist() == [0.5, 0.5]
    assert terms.metrics["rewards/chosen"].values.tolist() == [0.5, 0.5]
    assert terms.metrics["rewards/rejected"].values.tolist() == [-1.0, -1.0]


def test_the_gradient_raises_the_chosen_and_lowers_the_rejected_answer() -> None:
    one = batch(3.0, statistic={"b": torch.tensor([0.5], dtype=torch.float64)})
    chosen, rejected = torch.autograd.grad(BetaDPO()(one).pair.sum(), (one.chosen.logp.values, one.rejected.logp.values))
    assert chosen.item() == pytest.approx(-0.5 / (1 + math.exp(1.5)))  # b sigmoid(-h): no gradient through b
    assert rejected.item() == -chosen.item()


def test_policy_equal_to_reference() -> None:
    found, _ = statistic(BetaDPO(), batch(0.0, 0.0), None)
    assert found["b"].tolist() == [0.1, 0.1]
    assert BetaDPO()(batch(0.0, statistic={"b": found["b"][:1]})).pair.tolist() == pytest.approx([math.log(2)])


@pytest.mark.parametrize(
    ("field", "value"), [("beta", 0.0), ("alpha", -0.1), ("momentum", 1.0), ("keep", 0.0), ("keep", 1.1)]
)
def test_refuses_values_out_of_range(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        BetaDPO(**{field: value})

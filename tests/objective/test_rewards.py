"""The implicit reward and its options on numbers worked out by hand: r_w = .5 + .5 = 1, r_l = -1 + 0 + .5 = -.5."""

from __future__ import annotations

import math

import pytest

from burnish.model.signals import mean_logit
from burnish.objective import ImplicitReward, Pairs, SequenceReward, unpaired_metrics
from burnish.objective.reduce import Tally
from burnish.testing.batches import pairs, sequences


def batch() -> Pairs:
    return pairs([[-1.0, -2.0]], [[-3.0, -1.0, -0.5]], reference=([[-1.5, -2.5]], [[-2.0, -1.0, -1.0]]))


@pytest.mark.parametrize(
    ("reward", "chosen", "rejected"),
    [
        (ImplicitReward(), 1.0, -0.5),
        (ImplicitReward(reference_free=True), -3.0, -4.5),
        (ImplicitReward(ld_alpha=0.2), 1.0, -1 + 0 + 0.2 * 0.5),  # the third token is beyond the shorter completion
        (ImplicitReward(f_divergence="forward_kl"), 1 - math.exp(-1), 1 - math.exp(0.5)),
        (ImplicitReward(f_divergence="js"), math.log(2 / (1 + math.exp(-1))), math.log(2 / (1 + math.exp(0.5)))),
        (ImplicitReward(f_divergence="alpha"), (math.exp(-0.5) - 1) / -0.5, (math.exp(0.25) - 1) / -0.5),
        (ImplicitReward(f_divergence="alpha", f_alpha=1.0), 1.0, -0.5),
    ],
)
def test_options(reward: ImplicitReward, chosen: float, rejected: float) -> None:
    r_w, r_l = reward.pair(batch())
    assert r_w.tolist() == pytest.approx([chosen])
    assert r_l.tolist() == pytest.approx([rejected])


def test_an_exponent_is_clamped_where_it_would_overflow() -> None:
    far = pairs([[-500.0]], [[-1.0]], reference=([[-1.0]], [[-1.0]]))  # r_w = -499
    r_w, _ = ImplicitReward(f_divergence="alpha").pair(far)
    assert r_w.item() == pytest.approx((math.exp(80) - 1) / -0.5)
    r_w, _ = ImplicitReward(f_divergence="forward_kl").pair(far)
    assert r_w.item() == pytest.approx(1 - math.exp(80))


def test_single_completions_have_the_rewards_of_a_pair() -> None:
    for name in ("reverse_kl", "forward_kl", "js", "alpha"):
        r_w, r_l = ImplicitReward(f_divergence=name).pair(batch())
        alone = SequenceReward(f_divergence=name)
        assert alone.of(batch().chosen).tolist() == r_w.tolist()
        assert alone.of(batch().rejected).tolist() == r_l.tolist()


def test_metrics_of_marked_completions_are_those_of_their_mark() -> None:
    marked = sequences(
        [[-1.0, -2.0], [-4.0], [-6.0]],
        signals={mean_logit(): [[1.0, 2.0], [3.0], [6.0]]},
        scalars={"label": [1.0, 0.0, 1.0]},
    )
    metrics = unpaired_metrics(marked, marked.logp.sum(), marked.scalar("label"))
    logged = {name: Tally.of(metric).value() for name, metric in metrics.items()}
    # sums -3 and -6 of the good ones; logits (1 + 2 + 6) / 3 over their tokens
    assert (logged["rewards/chosen"], logged["rewards/rejected"]) == (-4.5, -4.0)
    assert (logged["logps/chosen"], logged["logps/rejected"]) == (-4.5, -4.0)
    assert (logged["logits/chosen"], logged["logits/rejected"]) == (3.0, 3.0)


def test_a_reward_without_a_reference_declares_none() -> None:
    roles = {signal.role for signal in ImplicitReward(reference_free=True).signals()}
    assert roles == {"policy"}
    assert {signal.role for signal in ImplicitReward().signals()} == {"policy", "reference"}

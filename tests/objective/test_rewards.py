"""The implicit reward and its options on numbers worked out by hand: r_w = .5 + .5 = 1, r_l = -1 + 0 + .5 = -.5."""

from __future__ import annotations

import math

import pytest

from burnish.objective import ImplicitReward, Pairs
from burnish.testing.batches import pairs


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


def test_a_reward_without_a_reference_declares_none() -> None:
    roles = {signal.role for signal in ImplicitReward(reference_free=True).signals()}
    assert roles == {"policy"}
    assert {signal.role for signal in ImplicitReward().signals()} == {"policy", "reference"}

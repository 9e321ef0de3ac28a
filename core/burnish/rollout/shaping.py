"""Shaping: what is added to rewards before they become advantages. In: judged trajectories with log-probabilities. Out: the
same with further rewards of tokens. Knows no model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from burnish.rollout.trajectory import Trajectory

if TYPE_CHECKING:
    from burnish.config.sections import KLInRewardSection

KL = "kl_in_reward"


def with_kl(one: Trajectory, section: KLInRewardSection) -> Trajectory:
    """With the penalty for the divergence from the reference.

        r_t = -beta k(d_t)     d = lp - lr, k1(d) = d, k3(d) = e^-d - 1 + d

    lp is `old`, or `behaviour` where that is the same; lr is `reference`; [T], nats. An advantage of tokens gets r_t at its
    token, others the sum over the completion. Source: Ouyang et al. 2022, arXiv:2203.02155, eq. 2, per token; k3: Schulman
    2020, "Approximating KL divergence". Degenerate: a policy that is the reference loses nothing.
    """
    policy = one.tokens.get("old", one.tokens["behaviour"]).astype(np.float64)
    apart = np.where(one.own, policy - one.tokens["reference"], 0.0)
    divergence = apart if section.estimator == "k1" else np.expm1(-apart) + apart
    shaped = one.with_earned(KL, (-section.beta * divergence).astype(np.float32))
    return replace(shaped, reward=one.reward + (shaped.rewards[KL] or 0.0))

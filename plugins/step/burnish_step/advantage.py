"""Advantages of steps or turns: the formula."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from burnish import Groups, Ragged

EPSILON = 1e-4


@dataclass(frozen=True, kw_only=True)
class StepRewards:
    """Process supervision: a token is credited with the rewards of its own step and of those after it.

        s_k = what the tokens of step k earned
        z_k = (s_k - mean(s)) / (std(s) + 1e-4)                 over all steps of all completions of the group, n - 1
        A_t = sum over j >= k(t) of gamma^(j - k(t)) z_j  +  (r - mean(r)) / (std(r) + 1e-4)

    k(t) is the step or turn of token t. The last term is the completion's own reward against its group's, the same for all its
    tokens; 0 where only steps are judged. With `scale: none` nothing is divided.
    Source: Shao et al. 2024, arXiv:2402.03300, section 4.1.3, which is gamma 1 without r; turns with gamma 0 and r are MT-GRPO,
    arXiv:2505.11821. Deviations: none.
    Shapes: s, z [steps] in [completions]; r [completions] in [groups]; A [tokens] in [completions]. Units: standard deviations;
    with `none`, those of the rewards.
    Degenerate: where the steps of a group earned the same, and its completions too, A is exactly 0.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"token_rewards", "steps"})

    gamma: float = 1.0
    """How much of the reward of a later step counts, one step further away; 0 to 1."""
    scale: Literal["group", "none"] = "group"
    """Whether differences are measured by the group's standard deviation."""

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma must be from 0 to 1, got {self.gamma}")
        if self.scale not in ("group", "none"):
            raise ValueError(f"scale must be 'group' or 'none', got {self.scale!r}")

    def __call__(self, groups: Groups) -> Ragged:
        """One advantage per token."""
        tokens: Ragged = groups.need("token_rewards")
        steps: Ragged = groups.need("steps")
        begins = torch.ones_like(steps.values, dtype=torch.bool)  # where a step begins
        begins[1:] = (steps.values[1:] != steps.values[:-1]) | (steps.offset.values[1:] == 0)
        per_completion = Ragged(steps.values, tokens.lengths).select(begins).lengths  # steps of each
        per_group = Ragged(per_completion, groups.rewards.lengths).sum().to(torch.int64)
        in_step = Ragged(tokens.values, torch.bincount(begins.cumsum(0) - 1))  # [tokens] in [steps]
        judged = self._measured(Ragged(in_step.sum(), per_group))  # [steps] in [groups]
        ahead = Ragged(judged.values, per_completion).discounted_sum(self.gamma)  # [steps] in [completions]
        credit = Ragged(in_step.per_token(ahead.values).values, tokens.lengths)
        return credit + tokens.per_token(self._measured(groups.rewards).values)

    def _measured(self, rewards: Ragged) -> Ragged:
        return rewards.standardised(EPSILON) if self.scale == "group" else rewards.centred()

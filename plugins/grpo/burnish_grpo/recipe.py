"""Recipes: the forms of group relative policy optimisation that have names of their own."""

from __future__ import annotations

from typing import Any


def grpo(beta: float = 0.0, epsilon: float = 0.2) -> dict[str, Any]:
    """As its paper has it. beta: weight of the divergence from the reference, 0 for none. epsilon: as in the loss."""
    kl = [{"kl": {"weight": beta}}] if beta else []
    return {
        "rollout": {"advantage": {"group": {}}},
        "objective": [{"grpo": {"epsilon": epsilon, "reduction": "sequence_token_mean"}}, *kl],
        "optimizer": {"lr": 1e-6},
    }


def dr_grpo(max_new_tokens: int = 256, epsilon: float = 0.2) -> dict[str, Any]:
    """Without what favours long answers and easy questions. max_new_tokens: the longest answer, by which all are divided."""
    return {
        "rollout": {
            "advantage": {"group": {"scale": "none"}},
            "sampling": {"max_new_tokens": max_new_tokens, "temperature": 1.0},
        },
        "objective": [{"grpo": {"epsilon": epsilon, "reduction": f"constant({max_new_tokens})"}}],
        "optimizer": {"lr": 1e-6},
    }


def dapo(
    rewards: list[Any] | None = None,
    max_new_tokens: int = 256,
    margin: int | None = None,
    epsilon: float = 0.2,
    epsilon_high: float = 0.28,
) -> dict[str, Any]:
    """Ratios may rise further than they fall, every token counts the same, groups without signal are replaced, and answers near
    the longest are punished. rewards: what answers are worth, beside their length; written under `rollout.rewards` they would
    take its place. margin: tokens over which the punishment grows, a fifth of max_new_tokens by default. epsilon, epsilon_high:
    as in the loss.
    """
    overlong = {"max_length": max_new_tokens, "margin": max_new_tokens // 5 if margin is None else margin}
    return {
        "rollout": {
            "advantage": {"group": {}},
            "filter": True,
            "rewards": [*(rewards or ()), {"soft_overlong": {"options": overlong}}],
            "sampling": {"max_new_tokens": max_new_tokens, "temperature": 1.0},
        },
        "objective": [{"grpo": {"epsilon": epsilon, "epsilon_high": epsilon_high, "reduction": "token_mean"}}],
        "optimizer": {"lr": 1e-6},
    }

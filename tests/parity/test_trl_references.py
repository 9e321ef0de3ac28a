"""References that follow the policy against TRL's callbacks: the same policies, the same steps, the same weights."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from trl import BEMACallback
from trl.trainer.callbacks import SyncRefModelCallback

from burnish.model.following import BiasCorrected, Following, Mix
from burnish.testing import tiny_model

STEPS = 9


def stir(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)


def assert_equal(ours: nn.Module, theirs: nn.Module) -> None:
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.detach(), other.detach(), rtol=1e-6, atol=1e-7)


def check(policy: nn.Module, following: Following, ours: nn.Module, callback: Any, theirs: nn.Module, args: Any) -> None:
    """Both are told of the same steps of the policy, and have the same reference after each."""
    for step in range(1, STEPS + 1):
        stir(policy, step)
        following.step(step)
        callback.on_step_end(args, SimpleNamespace(global_step=step), None, model=policy)
        assert_equal(ours, theirs)


@pytest.mark.parametrize(("alpha", "every"), [(0.6, 2), (1.0, 3), (0.05, 1)])
def test_mixtures(alpha: float, every: int) -> None:
    policy: Any = tiny_model("llama")
    ours, theirs = copy.deepcopy(policy).requires_grad_(False), copy.deepcopy(policy)
    Accelerator(cpu=True)  # the callback asks for its state
    args = SimpleNamespace(ref_model_sync_steps=every, ref_model_mixup_alpha=alpha)
    following = Following(Mix(share=alpha, every=every), policy, ours)
    check(policy, following, ours, SyncRefModelCallback(theirs, None), theirs, args)


@pytest.mark.parametrize(
    ("every", "after", "ema_power", "bias_power", "lag", "multiplier"),
    [(2, 0, 0.5, 0.2, 10, 1.0), (3, 2, 0.7, 0.4, 5, 2.0), (1, 0, 0.5, 8.0, 10, 1.0)],
)
def test_bias_corrected_averages(
    every: int, after: int, ema_power: float, bias_power: float, lag: int, multiplier: float
) -> None:
    policy: Any = tiny_model("llama", tie_word_embeddings=False)
    ours = copy.deepcopy(policy).requires_grad_(False)
    callback = BEMACallback(every, ema_power, bias_power, lag, after, multiplier)
    callback.on_train_begin(None, None, None, model=policy)
    rule = BiasCorrected(
        every=every, after=after, ema_power=ema_power, bias_power=bias_power, lag=lag, multiplier=multiplier
    )
    check(policy, Following(rule, policy, ours), ours, callback, callback.running_model, None)

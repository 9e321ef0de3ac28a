"""A reference that follows the policy: after some steps its weights become another average of the policy's.

In: the trained parameters of the policy and a frozen copy of it. Out: new values in the copy, and a state to go on from. Below
an adapter both share their weights, and what is averaged are the adapter's factors. Knows no loss and no process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from burnish.errors import ModelError
from burnish.model.values import is_of_value_head


@dataclass(frozen=True, kw_only=True)
class Mix:
    """A mixture of the reference and the policy, every so many steps.

        reference <- (1 - share) reference + share policy

    Source: TR-DPO, Gorbatovski et al. 2024, arXiv:2404.09656, eq. 6 (soft update) and, with share 1, eq. 7 (hard update). Share
    1 - d after every step is an exponential moving average with decay d.
    """

    share: float
    every: int


@dataclass(frozen=True, kw_only=True)
class BiasCorrected:
    """A bias-corrected exponential moving average (BEMA), every so many steps.

        average   <- (1 - b) average + b policy          b = (lag + multiplier t)^-ema_power
        reference <- average + a (policy - start)        a = (lag + multiplier t)^-bias_power        t: steps of the optimiser

    start: the policy after step `after`, where the average begins too; until the first update the reference stays as it is.
    Source: Block and Zhang 2025, arXiv:2508.00180, algorithm 1. Deviations: none.
    """

    every: int
    after: int
    ema_power: float
    bias_power: float
    lag: float
    multiplier: float


Rule: TypeAlias = Mix | BiasCorrected


class Following:
    """The reference of one run. Averages are float32 at least: steps that bfloat16 would round away add up."""

    def __init__(self, rule: Rule, policy: nn.Module, reference: nn.Module) -> None:
        self._rule = rule
        trained = {name: parameter for name, parameter in policy.named_parameters() if parameter.requires_grad}
        self._policy = {name: parameter for name, parameter in trained.items() if not is_of_value_head(name)}
        copies = dict(reference.named_parameters())
        if missing := sorted(self._policy.keys() - copies.keys()):
            raise ModelError(f"the reference cannot follow the policy: it has no parameter {missing[0]}")
        self._reference = {name: copies[name].detach() for name in self._policy}
        self._average = {name: self._wide(copy) for name, copy in self._reference.items()}
        self._start: dict[str, Tensor] = {}
        if isinstance(rule, BiasCorrected):
            self._start = {name: average.clone() for name, average in self._average.items()}

    @torch.no_grad()
    def step(self, step: int) -> bool:
        """What is due after the `step`-th step of the optimiser; whether the reference has moved."""
        rule = self._rule
        after = rule.after if isinstance(rule, BiasCorrected) else 0
        if step <= after or (step - after) % rule.every:
            if step == after:
                for tensors in (self._average, self._start):
                    _copy(self._policy, tensors)
            return False
        for name, parameter in self._policy.items():
            average = self._average[name]
            policy = parameter.detach().to(average.dtype)
            if isinstance(rule, Mix):
                _mix(average, policy, rule.share)
                moved = average
            else:
                age = rule.lag + rule.multiplier * step
                _mix(average, policy, age**-rule.ema_power)
                moved = average + age**-rule.bias_power * (policy - self._start[name])
            if moved is not self._reference[name]:
                self._reference[name].copy_(moved)
        return True

    def state(self) -> dict[str, dict[str, Tensor]]:
        """A tree for a checkpoint."""
        return {"reference": self._reference, "average": self._apart(), "start": self._start}

    @torch.no_grad()
    def load(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Goes on from what `state` gave."""
        for name, tensors in (("reference", self._reference), ("average", self._apart()), ("start", self._start)):
            _copy(state[name], tensors)

    def _wide(self, copy: Tensor) -> Tensor:
        """Where an average is kept: in the reference itself, unless that is something else or too narrow."""
        if isinstance(self._rule, Mix) and copy.dtype in (torch.float32, torch.float64):
            return copy
        return copy.to(torch.promote_types(copy.dtype, torch.float32), copy=True)

    def _apart(self) -> dict[str, Tensor]:
        """The averages that are not the reference itself."""
        return {name: average for name, average in self._average.items() if average is not self._reference[name]}


def _mix(average: Tensor, policy: Tensor, share: float) -> None:
    average.mul_(1 - share).add_(policy, alpha=share)


def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for name, tensor in target.items():
        tensor.copy_(source[name].detach())

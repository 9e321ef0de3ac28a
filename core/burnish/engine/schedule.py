"""The learning rate as a pure function of the step, so that resuming needs nothing but the step.

In: the schedule section, the base rate, the number of steps. Out: a rate per step.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from burnish.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from burnish.config.sections import ScheduleSection


class Schedule:
    """Learning rates of a run: `rate(step)` for the update that follows `step` finished ones.

    The shapes are those of transformers' `get_scheduler`; a warm-up below 1 is a fraction of all steps, else a number of steps.
    doubt: a sentence about a run that ends before its warm-up does.
    """

    def __init__(self, section: ScheduleSection, rate: float, num_steps: int) -> None:
        from transformers import SchedulerType, get_scheduler

        known = [member.value for member in SchedulerType]
        if section.name not in known:
            raise ConfigError(f"no schedule named '{section.name}'. {did_you_mean(section.name, known)}")
        warmup = math.ceil(section.warmup * num_steps) if section.warmup < 1 else int(section.warmup)
        stand_in = torch.optim.SGD([torch.zeros(1)], lr=rate)
        try:
            scheduler = get_scheduler(section.name, stand_in, warmup, num_steps, dict(section.options))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"schedule '{section.name}' with options {section.options}: {error}") from error
        if not isinstance(scheduler, LambdaLR):
            raise ConfigError(f"schedule '{section.name}' follows a metric, not the step; choose for example cosine or linear")
        self.doubt: str | None = None
        if warmup >= num_steps and section.name != SchedulerType.CONSTANT:
            self.doubt = (
                f"schedule.warmup: {warmup} steps of warm-up in a run of {num_steps}, so that the learning rate never "
                f"reaches {rate:g}"
            )
        self._factor = scheduler.lr_lambdas[0]
        self._base = rate

    def rate(self, step: int) -> float:
        """Learning rate of the update after `step` finished updates."""
        return float(self._base * self._factor(step))

    def apply(self, optimizer: Optimizer, step: int) -> float:
        """Set that rate in every parameter group, and return it."""
        rate = self.rate(step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        return rate

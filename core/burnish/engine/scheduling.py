"""Rollout batches from the scheduler: which settings can work, and the loop in which it runs, beside training or before it.

In: what plays and judges a group, the supply of prompts. Out: judged trajectories, and numbers on how the two halves overlap.
Only the first process has one; the others are told what it made.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from accelerate import Accelerator

from burnish.config.sections import RolloutSection
from burnish.errors import ConfigError
from burnish.rollout.contract import Backend
from burnish.rollout.foreseen import steps_a_pass
from burnish.rollout.scheduler import Collected, Group, Pace, Scheduler
from burnish.rollout.supply import Draw, Supply
from burnish.rollout.versioned import Versioned
from burnish.rollout.waiting import Background, finish


def pace_of(section: RolloutSection, batch_size: int) -> Pace:
    """How far playing runs ahead of training."""
    return Pace(
        size=section.prompts,
        steps=section.epochs * steps_a_pass(section, batch_size),
        max_staleness=section.max_staleness,
        extra=section.oversample,
        filter=section.filter,
        max_refills=section.max_refills,
    )


def check_pace(section: RolloutSection, backend: Backend, batch_size: int, accelerator: Accelerator) -> None:
    """ConfigError for what cannot be scheduled, before a model is read."""
    pace, live = pace_of(section, batch_size), backend.capabilities.live
    if pace.max_staleness and live:
        [name] = section.backend
        raise ConfigError(
            f"rollout.max_staleness: the backend '{name}' draws from the very weights that are trained, so it cannot draw "
            "while they move; set 0, or name a backend with weights of its own, such as `hf_copy`"
        )
    if pace.max_staleness and not pace.ahead:
        raise ConfigError(
            f"rollout.max_staleness: a rollout batch is trained on for {pace.steps} steps, so what is drawn meanwhile is "
            f"{pace.steps} versions old; with {pace.max_staleness} nothing could be drawn: set 0, or at least {pace.steps}"
        )
    if pace.extra and live and accelerator.num_processes > 1:
        raise ConfigError(
            f"rollout.oversample: the model draws its completions on {accelerator.num_processes} processes, none of which "
            "knows which were the first; set 0, or name a backend with weights of its own"
        )


@dataclass
class Overlapped:
    """Plays on in a thread of its own while the model is trained. play: makes and judges the group of a draw."""

    pace: Pace
    backend: Versioned
    play: Callable[[Draw], Awaitable[Group]]
    background: Background = field(default_factory=Background)
    scheduler: Scheduler | None = None
    _asked_at: float | None = None

    def collect(self, supply: Supply, version: int) -> tuple[Collected, dict[str, float]]:
        """The next rollout batch, for the weights `version`, and `sampling/...`: how old its tokens are, who waited."""
        if self.scheduler is None:
            self.scheduler = Scheduler(self.pace, supply, self.play)
        began, idle = time.monotonic(), self.backend.idle_s
        collected = self.background.wait(self.scheduler.collect(version))
        now = time.monotonic()
        since = now - (self._asked_at or began)
        self._asked_at = now
        metrics = {
            **staleness(collected, version),
            "sampling/queue": float(collected.queued),
            "sampling/idle_s/trainer": now - began,
            "sampling/idle_s/backend": self.backend.idle_s - idle,
            "sampling/rollout_s": since,
        }
        return collected, metrics

    def wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """What a coroutine gives in the scheduler's loop."""
        return self.background.wait(coroutine)

    def close(self, with_backend: bool) -> None:
        """End what is being played, and the thread; with_backend: close it too, in the loop in which it was used."""
        if self.scheduler is not None:
            self.background.wait(self.scheduler.stop())
        if with_backend:
            self.background.wait(self.backend.close())
        self.background.close()


def staleness(collected: Collected, version: int) -> dict[str, float]:
    """`sampling/staleness/mean|max` over tokens, in versions; groups that were dropped as too old, or cut as too late."""
    trained = [one for one in collected.trajectories if one.is_trainable]
    ages = np.concatenate([np.zeros(0, np.int64), *(version - one.versions[one.own] for one in trained)])
    return {
        "sampling/staleness/mean": float(ages.mean()) if len(ages) else 0.0,
        "sampling/staleness/max": float(ages.max(initial=0)),
        "sampling/groups/stale": float(collected.stale),
        "sampling/groups/cut": float(collected.cut),
    }


def collect_now(pace: Pace, supply: Supply, play: Callable[[Draw], Awaitable[Group]], version: int) -> Collected:
    """A rollout batch of the groups that finish first, played now; the others' prompts may be taken again."""

    async def once() -> Collected:
        scheduler = Scheduler(pace, supply, play)
        try:
            return await scheduler.collect(version)
        finally:
            await scheduler.stop()

    return finish(once())

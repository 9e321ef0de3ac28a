"""A run in progress: what the loop works on and what observers see, and the part of it that a checkpoint brings back.

In: everything that setting up made. Out: plain attributes. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate import Accelerator
from torch import nn

from burnish.data.dataset import Cursor, TrainData
from burnish.engine.alarms import Alarms
from burnish.engine.best import Best
from burnish.engine.checkpoint import Checkpoints, Trained
from burnish.engine.guard import Guard
from burnish.engine.observers import Observers
from burnish.engine.progress import Progress
from burnish.engine.rundir import RunDirectory
from burnish.engine.schedule import Schedule
from burnish.engine.step import StepRunner
from burnish.engine.tracking import MetricsFile
from burnish.rollout.batches import OnlineBatches, ReadBatches, RolloutCursor

if TYPE_CHECKING:
    from burnish.config import Config
    from burnish.model.following import Following
    from burnish.objective.compose import Objective
    from burnish.registry import Registry
    from burnish.rollout.contract import Environment
    from burnish.rollout.rewards import Reward


@dataclass
class State:
    """Where a run is. step: batches trained on, skipped ones too. cursor: where the data goes on. objective: states of the
    statistics. num_tokens: seen in all. stale: evaluations since the best one. first, evaluation: the first
    and the last one, made at `evaluated_at`."""

    cursor: Cursor | RolloutCursor
    step: int = 0
    objective: Any = None
    num_tokens: int = 0
    stale: int = 0
    best: Best | None = None
    first: Mapping[str, float] = field(default_factory=dict)
    evaluation: Mapping[str, float] = field(default_factory=dict)
    evaluated_at: int | None = None
    saved_at: int | None = None

    def to_tree(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {**vars(self), "cursor": self.cursor.to_json(), "best": self.best and vars(self.best)}

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> State:
        """The state that `to_tree` wrote."""
        best = Best(**tree["best"]) if tree["best"] else None
        cursor = (RolloutCursor if "rollout" in tree["cursor"] else Cursor).from_json(tree["cursor"])
        return cls(**{**tree, "cursor": cursor, "best": best})


@dataclass
class Run:
    """Everything about a run. model: the transformers or PEFT model being trained; trained: its parameters and optimiser;
    following: moves the reference, where it does not stay. environments: what prompts are played in, by source, in an online
    run. last: the line of metrics.jsonl of the last step. random: states of the random generators before the step in progress.
    torn: whether the weights are ahead of `state`."""

    config: Config
    registry: Registry
    directory: RunDirectory
    accelerator: Accelerator
    model: nn.Module
    tokenizer: Any
    data: TrainData
    batches: OnlineBatches | ReadBatches
    objective: Objective
    runner: StepRunner
    trained: Trained
    schedule: Schedule
    num_steps: int
    rewards: tuple[Reward, ...]
    observers: Observers
    progress: Progress
    guard: Guard
    origin: Mapping[str, Any]
    state: State
    following: Following | None = None
    environments: Mapping[str, Environment] = field(default_factory=dict)
    alarms: Alarms = field(default_factory=Alarms)
    last: Mapping[str, Any] = field(default_factory=dict)
    random: Mapping[str, Any] | None = None
    torn: bool = False

    @property
    def path(self) -> Path:
        """The run's directory."""
        return self.directory.path

    @property
    def metrics(self) -> MetricsFile:
        """metrics.jsonl."""
        return MetricsFile(self.directory.metrics)

    @property
    def checkpoints(self) -> Checkpoints:
        """The run's checkpoints."""
        return Checkpoints(self.directory.checkpoints, self.config.checkpoint.keep)

    @property
    def epoch(self) -> float:
        """Passes over the data so far, with their fraction where the length of one is known."""
        length = self.batches.steps_per_epoch
        return self.state.step / length if length else float(self.state.cursor.epoch)

    @property
    def is_judged(self) -> bool:
        """Whether it matters which evaluation is the best."""
        return self.config.checkpoint.best or self.config.evaluate.patience is not None

    @property
    def is_stale(self) -> bool:
        """Whether so many evaluations were no better than the best that the run should end."""
        patience = self.config.evaluate.patience
        return patience is not None and self.state.stale >= patience

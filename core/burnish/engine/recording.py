"""What must be known of trajectories before the weights move: `old` where it will differ, the reference, values.

In: judged trajectories, and the models as they are now. Out: the same trajectories with these numbers at every token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from burnish.engine.step import StepRunner
from burnish.model.signals import Role, Signal, value
from burnish.objective.compose import Objective
from burnish.objective.readings import column
from burnish.rollout.trajectory import Trajectory


@dataclass(frozen=True)
class Recorder:
    """moves: whether the weights move before all of a rollout batch has been trained on."""

    objective: Objective
    runner: StepRunner
    moves: bool

    def __call__(self, trajectories: Sequence[Trajectory], with_values: bool) -> list[Trajectory]:
        """The trajectories with what the objective reads of frozen roles; with_values: and with the value head's numbers."""
        wanted: list[tuple[Role, tuple[Signal, ...]]] = [("reference", self.objective.signals("reference"))]
        if self.moves:
            wanted.append(("old", self.objective.signals("old")))
        scored = list(trajectories)
        whole_ones = [place for place, one in enumerate(scored) if one.is_trainable]
        if with_values:
            wanted.append(("old", (value(role="old"),)))
        for role, signals in wanted:
            if not signals:
                continue
            sequences = [scored[place].unit().sequences[0] for place in whole_ones]
            masks = [sequence.masks["completion"] for sequence in sequences]
            found = self.runner.roles.score_frozen(role, sequences, masks, signals, self.runner.budget)
            for place, mask, numbers in zip(whole_ones, masks, found, strict=True):
                given = {}
                for signal, values in numbers.items():
                    spread = np.zeros(len(mask), np.float32)
                    spread[mask] = values
                    given[column(signal)] = spread
                scored[place] = scored[place].with_tokens(**given)
        return scored

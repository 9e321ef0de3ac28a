"""What must be known of trajectories before the weights move: `old` where it will differ, the reference, values.

In: judged trajectories, and the models as they are now. Out: the same trajectories with these numbers at every token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from burnish.config.sections import RolloutSection
from burnish.engine.step import StepRunner
from burnish.model.signals import Role, Signal, logp, tempered, value
from burnish.objective.compose import Objective
from burnish.objective.readings import column
from burnish.rollout.contract import Capabilities
from burnish.rollout.shaping import with_kl
from burnish.rollout.trajectory import Trajectory


@dataclass(frozen=True)
class Recorder:
    """moves: whether the weights move before all of a rollout batch has been trained on. sampler: of the backend that draws."""

    objective: Objective
    runner: StepRunner
    moves: bool
    section: RolloutSection
    sampler: Capabilities

    def __call__(self, trajectories: Sequence[Trajectory], with_values: bool, version: int) -> list[Trajectory]:
        """The trajectories with what the objective reads of frozen roles; with_values: and with the value head's numbers.

        version: of the weights as they are now. Earlier ones cannot be asked any more: where they drew, `old` is `behaviour`.
        """
        wanted: list[tuple[Role, tuple[Signal, ...]]] = [("reference", self._read("reference"))]
        if self.moves or self._scores_old or self.section.max_staleness:
            wanted.append(("old", self._read("old")))
        scored = list(trajectories)
        whole_ones = [place for place, one in enumerate(scored) if one.is_trainable]
        if with_values:
            wanted.append(("old", (value(role="old"),)))
        for role, signals in wanted:
            if not signals:
                continue
            places = whole_ones
            if role == "old" and {signal.name for signal in signals} == {"logp"}:
                places = [place for place in whole_ones if not _is_stale(scored[place], version).all()]
                for place in set(whole_ones) - set(places):  # nothing of it is of these weights: nothing to ask them
                    scored[place] = scored[place].with_tokens(old=scored[place].tokens["behaviour"])
            sequences = [scored[place].unit().sequences[0] for place in places]
            masks = [sequence.masks["completion"] for sequence in sequences]
            found = self.runner.roles.score_frozen(role, sequences, masks, signals, self.runner.budget)
            for place, mask, numbers in zip(places, masks, found, strict=True):
                given = {}
                for signal, values in numbers.items():
                    spread = np.zeros(len(mask), np.float32)
                    spread[mask] = values
                    given[column(signal)] = spread
                scored[place] = _aged(scored[place].with_tokens(**given), version)
        if (kl := self.section.kl_in_reward) is not None:
            for place in whole_ones:
                scored[place] = with_kl(scored[place], kl)
        return scored

    def _read(self, role: Role) -> tuple[Signal, ...]:
        """What the objective reads of a role, and the divergence in the reward."""
        signals = self.objective.signals(role)
        if self.section.kl_in_reward is None or (role == "old" and not self._scores_old):
            return signals
        return tuple(dict.fromkeys([*signals, tempered(logp(role), self.section.sampling.temperature)]))

    @property
    def _scores_old(self) -> bool:
        """Whether the divergence needs the policy's own log-probabilities, since the sampler's are not the same."""
        sampling = self.section.sampling
        undistorted = (sampling.top_k, sampling.top_p, sampling.min_p, sampling.repetition_penalty) == (0, 1.0, 0.0, 1.0)
        return self.section.kl_in_reward is not None and not (self.sampler.live and undistorted)


def _aged(one: Trajectory, version: int) -> Trajectory:
    """With `old` from the sampler at tokens that were drawn by weights before `version`."""
    stale = one.own & (one.versions < version)
    if "old" not in one.tokens or not stale.any():
        return one
    return one.with_tokens(old=np.where(stale, one.tokens["behaviour"], one.tokens["old"]))


def _is_stale(one: Trajectory, version: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Of the policy's tokens, which were drawn by weights before `version`."""
    return one.versions[one.own] < version

"""A replay buffer: what other runs have drawn, as rows to train on beside or instead of new rollouts. In: journals. Out: rows.

Knows no model and no text: a row holds the very ids that were sampled, with the numbers that were recorded for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.errors import DataError
from burnish.rollout.filtering import has_signal
from burnish.rollout.journal import Journal
from burnish.rollout.selection import Choice, id_row
from burnish.rollout.trajectory import Trajectory, by_group

ROLLOUTS = "rollouts"


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Trajectories of a run, for every loss that reads them: advantages, `old`, `behaviour` are those of when they were drawn.

    run: its folder. newest: rollout batches, counted from the last; null for all. min_reward, max_reward: inclusive.
    max_length: tokens of the policy's. signal: only groups whose rewards differ. `old` of a batch that was trained on in one
    step is not recorded: there it was the policy of that step, which is what the sampler said, so it is `behaviour`.
    """

    run: str
    newest: int | None = None
    min_reward: float | None = None
    max_reward: float | None = None
    max_length: int | None = None
    signal: bool = False

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Rows of the kind trajectory, in the order in which they were drawn."""
        journal = Journal(Path(self.run) / ROLLOUTS)
        numbers = journal.numbers()
        if not numbers:
            raise DataError(f"replay: {self.run} has no rollouts: there is nothing in {journal.folder}")
        choice = Choice(min_reward=self.min_reward, max_reward=self.max_reward, max_length=self.max_length)
        for number in numbers[-self.newest :] if self.newest else numbers:
            for one in self._candidates(journal.read(number) or []):
                if one.is_trainable and choice.accepts(one):
                    yield id_row(one.with_tokens(old=one.tokens.get("old", one.tokens["behaviour"])))

    def _candidates(self, trajectories: list[Trajectory]) -> Iterator[Trajectory]:
        for group in by_group(trajectories):
            if not self.signal or has_signal(group):
                yield from group

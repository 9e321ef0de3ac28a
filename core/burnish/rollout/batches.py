"""Step batches out of rollouts: prompts are drawn, played, judged, written to the journal, and trained on for some passes.

In: prompts, and what makes trajectories of them. Out: global batches with the cursor after each. A function of the seed, the
cursor, the journal and, where the journal has nothing yet, the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from burnish.data.ahead import ahead
from burnish.data.dataset import Cursor
from burnish.data.mixture import generator
from burnish.data.units import Unit
from burnish.errors import RunError
from burnish.rollout.journal import Journal
from burnish.rollout.metrics import rollout_metrics
from burnish.rollout.pairs import Pairing, units_of
from burnish.rollout.supply import Draw, Place, Supply, Units
from burnish.rollout.trajectory import NOTHING_APPLIES, Trajectory

EMPTY = 8  # rollout batches in a row without anything to train on, after which the run ends


@dataclass(frozen=True)
class RolloutCursor:
    """Where an online run stands. place: among the prompts, before rollout batch `rollout` was drawn; done: its step batches
    that were trained on; others: of the sources that are read, not played."""

    place: Place = field(default_factory=Place)
    rollout: int = 0
    done: int = 0
    others: Cursor = field(default_factory=Cursor)

    @property
    def epoch(self) -> int:
        """Passes over the prompts."""
        return self.place.prompts.epoch

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {"place": self.place.to_json(), "rollout": self.rollout, "done": self.done, "others": self.others.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RolloutCursor:
        """The cursor that `to_json` wrote."""
        others = Cursor.from_json(values["others"])
        return cls(Place.from_json(values["place"]), values["rollout"], values["done"], others)


@dataclass(frozen=True)
class Batch:
    """Units of one optimiser step, the cursor after it, and what is to be logged beside the step's own metrics."""

    units: list[Unit]
    cursor: Any
    metrics: Mapping[str, float] = field(default_factory=dict)


class Make(Protocol):
    """Makes rollout batches."""

    def __call__(self, supply: Supply, number: int) -> tuple[list[Trajectory], Mapping[str, float]]:
        """Rollout batch `number`, and numbers to be logged on how it came about: prompts taken from the supply, played, judged,
        scored; the same on every rank."""
        ...


@dataclass(frozen=True)
class OnlineBatches:
    """Global batches of an online run.

    prompts: prompt units, in batches of one. make: trajectories, ready to be trained on. others: batches of other sources, one
    of which joins every step batch. exchange: gives every rank what the first has. rollouts_per_epoch: where it is known. ends:
    what goes on beside training. may: whether a prompt may be played after so many. pairs: how completions become preferences,
    None where they are trained on themselves. recall: gives draws of an earlier life what a checkpoint does not hold of them.
    """

    prompts: Units
    make: Make
    journal: Journal
    passes: int
    steps_a_pass: int
    seed: int
    others: Units | None
    exchange: Callable[[Callable[[], Any]], Any]
    tells: Callable[..., None]
    rollouts_per_epoch: int | None
    ends: Callable[[], None] = lambda: None
    may: Callable[[Draw, int], bool] | None = None
    pairs: Pairing | None = None
    recall: Callable[[Sequence[Draw]], tuple[Draw, ...]] = tuple

    @property
    def steps_per_epoch(self) -> int | None:
        """Step batches of one pass over the prompts; None when it is not known."""
        rollouts = self.rollouts_per_epoch
        return None if rollouts is None else rollouts * self.passes * self.steps_a_pass

    def close(self) -> None:
        """End what goes on beside training."""
        self.ends()

    def batches(self, start: Cursor | RolloutCursor) -> Iterator[Batch]:
        """Batches from `start` on, without end."""
        start = start if isinstance(start, RolloutCursor) else RolloutCursor()
        cursor, empty = start, 0
        others = None if self.others is None else self.others.units(start.others)
        supply = Supply(self.prompts, replace(start.place, waiting=self.recall(start.place.waiting)), self.may)
        while True:
            trajectories, noted = self._rollout(supply, cursor.rollout)
            after = supply.use({one.origin.group for one in trajectories})
            steps = self._steps(trajectories, cursor.rollout)
            empty = 0 if steps else empty + 1
            if empty:
                self._complain(trajectories, empty)
            for index in range(cursor.done, len(steps)):
                units, read = steps[index], cursor.others
                if others is not None:
                    more, read = next(others)
                    units = [*units, *more]
                last = index + 1 == len(steps)
                place = after if last else cursor.place
                cursor = RolloutCursor(place, cursor.rollout + last, 0 if last else index + 1, read)
                yield Batch(units, cursor, {**rollout_metrics(trajectories), **noted} if index == 0 else {})
            if not steps:
                cursor = RolloutCursor(after, cursor.rollout + 1, 0, cursor.others)

    def _rollout(self, supply: Supply, number: int) -> tuple[list[Trajectory], Mapping[str, float]]:
        """From the journal; else made now, and journaled before anybody sees it."""
        known: list[Trajectory] | None = self.exchange(lambda: self.journal.read(number))
        if known is not None:
            return known, {}
        made, noted = self.make(supply, number)
        self.exchange(lambda: self.journal.append(number, made))
        return made, noted

    def _steps(self, trajectories: Sequence[Trajectory], number: int) -> list[list[Unit]]:
        """Step batches of all passes, shuffled anew for each; of nearly equal sizes, none of them empty."""
        units = units_of(trajectories, self.pairs)
        steps = []
        for turn in range(self.passes):
            order = generator(self.seed, f"rollout {number}", turn).permutation(len(units))
            steps += [[units[place] for place in piece] for piece in np.array_split(order, self.steps_a_pass) if len(piece)]
        return steps

    def _complain(self, trajectories: Sequence[Trajectory], empty: int) -> None:
        outcomes = sorted({one.outcome for one in trajectories})
        why = f"its episodes ended as {', '.join(outcomes)}"
        if self.pairs is not None and any(one.is_trainable for one in trajectories):
            why = "no two answers that make a pair got different rewards"
        elif all(one.error == NOTHING_APPLIES for one in trajectories):
            why = "every reward gave None for every completion"
        sentence = f"nothing of this rollout batch can be trained on: {why}"
        if empty >= EMPTY:
            raise RunError(f"{sentence}; so did the {EMPTY - 1} batches before it")
        self.tells(sentence)


@dataclass(frozen=True)
class ReadBatches:
    """Global batches of a run whose data is read: the same, without rollouts."""

    data: Units

    @property
    def steps_per_epoch(self) -> int | None:
        """Batches of one epoch; None for a stream."""
        return self.data.steps_per_epoch

    def close(self) -> None:
        """Nothing goes on beside training."""

    def batches(self, start: Cursor | RolloutCursor) -> Iterator[Batch]:
        """Batches from `start` on, without end."""
        drawn = self.data.units(start if isinstance(start, Cursor) else start.others)
        # Rows of a stream are tokenised as they come; others were before the start.
        for units, cursor in ahead(drawn) if self.steps_per_epoch is None else drawn:
            yield Batch(units, cursor)

"""A trajectory: what one episode left to train on. Immutable; what is found out later (rewards, advantages) makes a new one.

In: an episode and the prompt row that it came from. Out: a `Unit` for the objective. Knows no text and no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from burnish.data.examples import Message
from burnish.data.units import Ids, Mask, Numbers, Sequence, Unit
from burnish.rollout.contract import Episode, Outcome
from burnish.rollout.likeliest import numbers_of

NOTHING_APPLIES = "no reward applies: all gave None"
TRAINABLE: frozenset[Outcome] = frozenset({"ok", "truncated"})
ENVIRONMENT = "environment"  # name of the reward that an environment gives for the whole
TURNS = "turns"  # name of the reward that an environment gives for turns
EARNED = "earned."  # begins the names of numbers per token that are rewards


@dataclass(frozen=True)
class Origin:
    """Which prompt row, and which of its completions. group: place of the prompt in its rollout batch; member: of the
    completion in its group, below 0 for one that was drawn beside the group."""

    source: str
    row: int
    part: int
    group: int
    member: int


@dataclass(frozen=True, eq=False)
class Trajectory:
    """T token ids that a policy and its environment wrote.

    own: bool [T], the policy's ids, which are scored. versions: [T], of the weights that drew each of them, -1 elsewhere.
    tokens: name -> float [T], 0 where not own: `behaviour` (nats), later `advantages`, `old`, `reference`, ...; `steps`, which
    step or turn a token is of, where there are several; `earned.NAME`, a reward of tokens, at the last one of what it judges;
    and where a loss asks for them [T, K], `likeliest_ids` (-1 where not own) and `likeliest_logps`.
    rewards: each by name, of tokens their sum, None where it does not apply. reward: their weighted sum, after shaping. said,
    notes: as the episode has them. error: why it is not trained on, with the traceback of a reward that raised. columns,
    logged: what rewards wrote down beside, for the table of completions and for the metrics. instance: as the episode has it,
    until it is judged.
    """

    origin: Origin
    ids: Ids
    own: Mask
    versions: NDArray[np.int32]
    tokens: Mapping[str, Numbers]
    outcome: Outcome
    rewards: Mapping[str, float | None] = field(default_factory=dict)
    reward: float = 0.0
    said: tuple[Message, ...] = ()
    notes: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)
    logged: Mapping[str, float] = field(default_factory=dict)
    instance: Any = None

    @classmethod
    def of(cls, origin: Origin, episode: Episode, version: int) -> Trajectory:
        """An episode as it ended. version: of weights whose backend does not say which drew an id."""
        ids = np.array(episode.ids, np.int64)
        own, versions = np.zeros(len(ids), np.bool_), np.full(len(ids), -1, np.int32)
        behaviour, steps, earned = (np.zeros(len(ids), np.float32) for _ in range(3))
        start, turns, judged = 0, 0, False
        for span in episode.spans:
            end = start + len(span.ids)
            if span.sampled is not None:
                own[start:end], behaviour[start:end] = True, span.sampled.logps
                versions[start:end] = span.sampled.versions or version
                steps[start:end] = turns
                if span.reward is not None:
                    earned[end - 1], judged = span.reward, True
                turns += 1
            start = end
        tokens = {"behaviour": behaviour, **numbers_of(episode.spans)} | ({"steps": steps} if turns > 1 else {})
        given = {} if episode.reward is None else {ENVIRONMENT: episode.reward}
        one = cls(origin, ids, own, versions, tokens, episode.outcome, given, 0.0, episode.said, episode.notes, episode.error)
        one = replace(one, instance=episode.instance)
        return one.with_earned(TURNS, earned) if judged else one

    @property
    def is_trainable(self) -> bool:
        """Whether it enters baselines and the loss."""
        return self.outcome in TRAINABLE and bool(self.own.any())

    @property
    def is_opponent(self) -> bool:
        """Whether it was drawn beside its group, to compare with, by another distribution than the policy's."""
        return self.origin.member < 0

    @property
    def length(self) -> int:
        """Tokens that the policy wrote."""
        return int(self.own.sum())

    def with_tokens(self, **numbers: Numbers) -> Trajectory:
        """The same with further numbers per token."""
        return replace(self, tokens={**self.tokens, **numbers})

    @property
    def earned(self) -> dict[str, Numbers]:
        """The rewards of tokens by name: [T]."""
        return {name.removeprefix(EARNED): numbers for name, numbers in self.tokens.items() if name.startswith(EARNED)}

    def with_earned(self, name: str, numbers: Numbers) -> Trajectory:
        """The same with a reward of tokens: [T], 0 where not own. `reward` stays: who adds a reward knows its weight."""
        found = {**self.rewards, name: float(numbers.sum(dtype=np.float64))}
        return replace(self.with_tokens(**{EARNED + name: numbers.astype(np.float32)}), rewards=found)

    def unit(self) -> Unit:
        """What the objective reads: targets are the policy's own tokens."""
        everything = np.arange(len(self.ids)) > 0
        masks = {"completion": self.own & everything, "assistant": self.own & everything, "all": everything}
        scalars = {"reward": self.reward, "truncated": float(self.outcome == "truncated")}
        sequence = Sequence(self.ids, masks, tokens=self.tokens, scalars=scalars)
        return Unit("trajectory", (sequence,), self.origin.source, scalars, self.origin.row, self.origin.part)


def by_group(trajectories: Iterable[Trajectory]) -> list[list[Trajectory]]:
    """Trajectories of one rollout batch, group after group, members in order."""
    groups: dict[int, list[Trajectory]] = {}
    for one in sorted(trajectories, key=lambda one: (one.origin.group, one.origin.member)):
        groups.setdefault(one.origin.group, []).append(one)
    return list(groups.values())

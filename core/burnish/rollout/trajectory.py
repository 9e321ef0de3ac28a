"""A trajectory: what one episode left to train on. Immutable; what is found out later (rewards, advantages) makes a new one.

In: an episode and the prompt row that it came from. Out: a `Unit` for the objective. Knows no text and no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from burnish.data.units import Ids, Mask, Numbers, Sequence, Unit
from burnish.rollout.contract import Episode, Outcome

TRAINABLE: frozenset[Outcome] = frozenset({"ok", "truncated"})


@dataclass(frozen=True)
class Origin:
    """Which prompt row, and which of its completions. group: place of the prompt in its rollout batch; member: of the
    completion in its group."""

    source: str
    row: int
    part: int
    group: int
    member: int


@dataclass(frozen=True, eq=False)
class Trajectory:
    """T token ids that a policy and its environment wrote.

    own: bool [T], the policy's ids, which are scored. versions: [T], of the weights that drew each of them, -1 elsewhere.
    tokens: name -> float [T], 0 where not own: `behaviour` (nats), later `advantages`, `old`, `reference`, ... rewards: each by
    name, None where it does not apply. reward: their weighted sum, after shaping.
    """

    origin: Origin
    ids: Ids
    own: Mask
    versions: NDArray[np.int32]
    tokens: Mapping[str, Numbers]
    outcome: Outcome
    rewards: Mapping[str, float | None] = field(default_factory=dict)
    reward: float = 0.0

    @classmethod
    def of(cls, origin: Origin, episode: Episode, version: int) -> Trajectory:
        """An episode as it ended. version: of weights whose backend does not say which drew an id."""
        ids = np.array(episode.ids, np.int64)
        own, versions = np.zeros(len(ids), np.bool_), np.full(len(ids), -1, np.int32)
        behaviour = np.zeros(len(ids), np.float32)
        start = 0
        for span in episode.spans:
            end = start + len(span.ids)
            if span.sampled is not None:
                own[start:end], behaviour[start:end] = True, span.sampled.logps
                versions[start:end] = span.sampled.versions or version
            start = end
        given = {} if episode.reward is None else {"environment": episode.reward}
        return cls(origin, ids, own, versions, {"behaviour": behaviour}, episode.outcome, given)

    @property
    def is_trainable(self) -> bool:
        """Whether it enters baselines and the loss."""
        return self.outcome in TRAINABLE and bool(self.own.any())

    @property
    def length(self) -> int:
        """Tokens that the policy wrote."""
        return int(self.own.sum())

    def with_tokens(self, **numbers: Numbers) -> Trajectory:
        """The same with further numbers per token."""
        return replace(self, tokens={**self.tokens, **numbers})

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

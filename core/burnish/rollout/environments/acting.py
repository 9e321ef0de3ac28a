"""Playing with a partner: the policy's turn, the partner's answer, until one of them is done or a limit is met.

In: a task, `generate`, a partner. Out: an episode. Knows neither what the partner is nor who draws the turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from burnish.data.examples import Message
from burnish.rollout.contract import Episode, Generate, Task
from burnish.rollout.environments.conversation import Conversation


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a partner says to a turn of the policy's. messages: none where it has nothing to say. done: the episode is over.
    reward: what the turn earned, None where turns are not judged. calls: what the turn called, as messages have it."""

    messages: Sequence[Message] = ()
    done: bool = False
    reward: float | None = None
    calls: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Heard:
    """A turn of the policy's. text: with its special tokens; said: without."""

    text: str
    said: str


class Partner(Protocol):
    """The other side of one episode."""

    @property
    def notes(self) -> Mapping[str, float]:
        """Numbers to be logged."""
        ...

    async def begin(self, task: Task) -> Conversation:
        """The conversation before the policy's first turn."""
        ...

    async def reply(self, heard: Heard) -> Reply:
        """The answer to a turn."""
        ...

    async def reward(self) -> float | None:
        """What the whole was worth, once it is over; None where others judge."""
        ...

    async def close(self) -> None:
        """Give back what it holds, however the episode ended."""
        ...


async def act(task: Task, generate: Generate, partner: Partner, max_turns: int) -> Episode:
    """One episode. It is truncated when a turn was, when `max_turns` of them were not enough, or when there is no room."""
    try:
        talk = await partner.begin(task)
        outcome = await _turns(talk, generate, partner, max_turns)
        turns = sum(span.sampled is not None for span in talk.spans)
        return Episode(
            spans=tuple(talk.spans),
            outcome="ok" if outcome else "truncated",
            reward=await partner.reward(),
            said=tuple(talk.said),
            notes={**partner.notes, "turns": float(turns)},
        )
    finally:
        await partner.close()


async def _turns(talk: Conversation, generate: Generate, partner: Partner, max_turns: int) -> bool:
    """Whether it came to its own end."""
    for turn in range(1, max_turns + 1):
        if not talk.has_room:
            return False
        said = await generate(talk.ids)
        talk.hear(said)
        if not said.finished:
            return False
        reply = await partner.reply(Heard(*talk.last))
        if reply.reward is not None:
            talk.earn(reply.reward)
        if reply.calls:
            talk.note_calls(reply.calls)
        if reply.done or not reply.messages:
            return True
        if turn < max_turns:
            talk.tell(reply.messages)
    return False

"""Playing: prompt rows become trajectories, every episode a coroutine, all of a rollout batch side by side.

In: prompts, an environment, a backend. Out: one trajectory per member of every group, whatever became of it. An environment
that raises or takes too long ends its own episode; a backend that raises ends the run.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from burnish.data.examples import Example
from burnish.errors import raised
from burnish.rollout.contract import Backend, Environment, Episode, Outcome, Span, Task
from burnish.rollout.prompts import columns_of
from burnish.rollout.sampler import Completion
from burnish.rollout.trajectory import Origin, Trajectory
from burnish.rollout.waiting import finish

if TYPE_CHECKING:
    from burnish.config.sections import SamplingSection

GREEDY = -1  # member of a group that stands for the prompt's most likely completion


@dataclass(frozen=True)
class Prompt:
    """A prompt row to be answered. group: how many prompts were drawn before it; ids: rendered."""

    source: str
    row: int
    part: int
    group: int
    example: Example
    ids: tuple[int, ...]


@dataclass
class Player:
    """Plays groups. tells: is given a sentence when an environment fails, once for every kind of failure."""

    environment: Environment
    backend: Backend
    tokenizer: Any
    sampling: SamplingSection
    seed: int
    time_limit: float | None = None
    tells: Callable[[str], None] = print
    _told: set[str] = field(default_factory=set)

    def play(self, prompts: Sequence[Prompt], members: Sequence[int], version: int) -> list[Trajectory]:
        """These members of each prompt's group, drawn from the weights `version`."""
        return finish(self.playing(prompts, members, version))

    async def playing(self, prompts: Sequence[Prompt], members: Sequence[int], version: int) -> list[Trajectory]:
        """As `play`, where a loop is running."""
        episodes = [self._episode(prompt, member) for prompt in prompts for member in members]
        origins = [Origin(one.source, one.row, one.part, one.group, member) for one in prompts for member in members]
        played = await asyncio.gather(*episodes)
        return [Trajectory.of(origin, episode, version) for origin, episode in zip(origins, played, strict=True)]

    async def _episode(self, prompt: Prompt, member: int) -> Episode:
        columns = {name: values[0] for name, values in columns_of([prompt.example]).items()}
        task = Task(ids=prompt.ids, tokenizer=self.tokenizer, columns=columns)
        sampling = self.sampling.model_copy(update={"temperature": 0.0}) if member == GREEDY else self.sampling
        turns = 0

        async def generate(ids: Sequence[int]) -> Completion:
            nonlocal turns
            turns += 1
            try:
                return await self.backend.generate(ids, sampling, self._stream(prompt.group, member, turns))
            except Exception as error:
                raise _BackendFailed(error) from error

        try:
            return await asyncio.wait_for(self.environment(task, generate), self.time_limit)
        except _BackendFailed as failed:
            raise failed.error from None
        except TimeoutError:
            return self._failed(prompt, "timeout", f"took longer than {self.time_limit:g} s")
        except Exception as error:
            return self._failed(prompt, "environment_error", f"raised {raised(error)}")

    def _failed(self, prompt: Prompt, outcome: Outcome, what: str) -> Episode:
        if what not in self._told:
            self._told.add(what)
            self.tells(f"the environment {what} on row {prompt.row} of {prompt.source}: the episode is left out ({outcome})")
        return Episode(spans=(Span(ids=prompt.ids),), outcome=outcome)

    def _stream(self, *place: int) -> int:
        """The seed of one request: a function of the run's seed and of the request's place, of nothing else."""
        digest = hashlib.blake2b(repr((self.seed, *place)).encode(), digest_size=6).digest()
        return int.from_bytes(digest)


class _BackendFailed(Exception):
    """Tells what the backend raised from what an environment raised."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error

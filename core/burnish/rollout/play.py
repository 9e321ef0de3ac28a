"""Playing: prompt rows become trajectories, every episode a coroutine, all of a rollout batch side by side.

In: prompts, an environment for each source, a backend. Out: one trajectory per member of every group, whatever became of it. An
environment that raises or takes too long ends its own episode; a backend that raises ends the run.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from burnish.data.examples import Example, prompt_of
from burnish.errors import ConfigError, DataError, InfrastructureError, raised
from burnish.rollout.contract import Backend, Environment, Episode, Outcome, Span, Task
from burnish.rollout.likeliest import reported
from burnish.rollout.mixture import mixed
from burnish.rollout.prompts import columns_of
from burnish.rollout.sampler import Completion
from burnish.rollout.soundness import sound
from burnish.rollout.trajectory import Origin, Trajectory
from burnish.rollout.waiting import Gate, Shows, finish, unseen

if TYPE_CHECKING:
    from burnish.config.sections import SamplingSection

PAUSE_S = 0.5  # before an episode is begun again that could not reach something; twice as long each time
GREEDY = -1  # member of a group that stands for the prompt's most likely completion
OPPONENT = -2  # the first of those that stand for its opponents; the others are below
TOO_LONG = "prompt too long"  # what is told once of all such rows


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
    """Plays groups.

    environments: by source. time_limit: seconds of an episode. tells: is given a sentence when an environment fails, once for
    every kind of failure. retries: how often an episode is begun again, by its outcome, drawn anew. gate: lets so many episodes
    play at once. room: as tasks have it; a longer prompt is left out. mixture: the reference's share in what draws opponents.
    vocabulary: ids that the trained model has. likeliest: tokens that a group's completions are reported with, beside each one
    that was drawn. shows: is told how many episodes are over, of how many that began since none was being played.
    """

    environments: Mapping[str, Environment]
    backend: Backend
    tokenizer: Any
    sampling: SamplingSection
    seed: int
    time_limit: float | None = None
    tells: Callable[[str], None] = print
    retries: Mapping[str, int] = field(default_factory=dict)
    gate: Gate = field(default_factory=Gate)
    room: int | None = None
    mixture: float = 0.0
    vocabulary: int | None = None
    likeliest: int = 0
    shows: Shows = unseen
    _told: set[str] = field(default_factory=set)
    _begun: int = 0
    _over: int = 0

    def play(self, prompts: Sequence[Prompt], members: Sequence[int], version: int) -> list[Trajectory]:
        """These members of each prompt's group, drawn from the weights `version`."""
        return finish(self.playing(prompts, members, version))

    async def playing(self, prompts: Sequence[Prompt], members: Sequence[int], version: int) -> list[Trajectory]:
        """As `play`, where a loop is running."""
        episodes = [self._counted(prompt, member) for prompt in prompts for member in members]
        origins = [Origin(one.source, one.row, one.part, one.group, member) for one in prompts for member in members]
        self._begun += len(episodes)
        played = await asyncio.gather(*episodes)
        return [Trajectory.of(origin, episode, version) for origin, episode in zip(origins, played, strict=True)]

    async def _episode(self, prompt: Prompt, member: int) -> Episode:
        left, again = Counter(self.retries), 0
        async with self.gate():
            while True:
                episode = await self._attempt(prompt, member, again, left)
                if left[episode.outcome] <= 0:
                    return replace(episode, notes={**episode.notes, "retries": again}) if again else episode
                left[episode.outcome] -= 1
                if episode.outcome == "infrastructure_error":
                    await asyncio.sleep(PAUSE_S * 2**again)
                again += 1

    async def _counted(self, prompt: Prompt, member: int) -> Episode:
        try:
            return await self._episode(prompt, member)
        finally:
            self._over += 1
            self.shows(self._over, self._begun)
            if self._over == self._begun:
                self._over = self._begun = 0

    async def _attempt(self, prompt: Prompt, member: int, again: int, left: Mapping[str, int]) -> Episode:
        if self.room is not None and len(prompt.ids) > self.room:
            return self._left_out(prompt)
        columns = {name: values[0] for name, values in columns_of([prompt.example]).items()}
        said = prompt_of(prompt.example)
        side, room = prompt.example.side, self.room
        task = Task(ids=prompt.ids, tokenizer=self.tokenizer, columns=columns, prompt=said, side=side, room=room)
        sampling = self._settings(member)
        turns = 0

        async def generate(ids: Sequence[int]) -> Completion:
            nonlocal turns
            turns += 1
            try:
                place = (prompt.group, member, turns, *([again] if again else []))
                answer = await self.backend.generate(ids, sampling, self._stream(*place))
                return sound(answer, self.vocabulary, getattr(sampling, "likeliest", 0))
            except InfrastructureError:
                raise
            except Exception as error:
                raise _BackendFailed(error) from error

        limit = asyncio.timeout(self.time_limit)
        try:
            async with limit:
                return await self.environments[prompt.source](task, generate)
        except _BackendFailed as failed:
            raise failed.error from None
        except (ConfigError, DataError):  # no episode will do better
            raise
        except TimeoutError as error:
            what = f"took longer than {self.time_limit:g} s" if limit.expired() else f"waited too long: {raised(error)}"
            return self._failed(prompt, "timeout", what, left)
        except ConnectionError as error:
            return self._failed(prompt, "infrastructure_error", f"could not go on: {raised(error)}", left)
        except Exception as error:
            return self._failed(prompt, "environment_error", f"raised {raised(error)}", left)

    def _failed(self, prompt: Prompt, outcome: Outcome, what: str, left: Mapping[str, int]) -> Episode:
        fate = f"begun again, {left[outcome]} times at most" if left[outcome] > 0 else "left out"
        sentence = f"the environment {what} on row {prompt.row} of {prompt.source}: the episode is {fate} ({outcome})"
        if (kind := f"{what} {fate}") not in self._told:
            self._told.add(kind)
            self.tells(sentence)
        return Episode(spans=(Span(ids=prompt.ids),), outcome=outcome, error=what)

    def _left_out(self, prompt: Prompt) -> Episode:
        """Of a prompt that leaves no room for an answer; said once, counted always."""
        what = f"its prompt has {len(prompt.ids)} tokens, and the model's positions leave room for {self.room} before an answer"
        if TOO_LONG not in self._told:
            self._told.add(TOO_LONG)
            self.tells(
                f"row {prompt.row} of {prompt.source} is left out (filtered), and so is every row like it: {what} of "
                f"{self.sampling.max_new_tokens}. Lower rollout.sampling.max_new_tokens, or have such rows refused with "
                "`render.overlength: error`"
            )
        return Episode(spans=(Span(ids=prompt.ids),), outcome="filtered", error=what)

    def _settings(self, member: int) -> SamplingSection:
        """How a member of a group is drawn: as the policy writes, most likely tokens only, or from the opponents' mixture."""
        if member == GREEDY:
            return self.sampling.model_copy(update={"temperature": 0.0})
        if member <= OPPONENT:
            return mixed(self.sampling, self.mixture)
        return reported(self.sampling, self.likeliest) if self.likeliest else self.sampling

    def _stream(self, *place: int) -> int:
        """The seed of one request: a function of the run's seed and of the request's place, of nothing else."""
        digest = hashlib.blake2b(repr((self.seed, *place)).encode(), digest_size=6).digest()
        return int.from_bytes(digest)


class _BackendFailed(Exception):
    """Tells what the backend raised from what an environment raised."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error

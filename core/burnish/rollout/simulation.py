"""What a schedule will cost, before it is paid: the scheduler itself, in simulated time, with a sampler that only counts.

In: lengths and rewards of groups (recorded or drawn), seconds that things take, a pace. Out: throughput, staleness, idle time.
The scheduler and the gate before the backend are those of a run; only the clock, the sampler and the training are made up.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from burnish.config.sections import SamplingSection
from burnish.data.dataset import Cursor
from burnish.data.units import Unit
from burnish.errors import RunError
from burnish.rollout.contract import Capabilities, Receipt
from burnish.rollout.sampler import Completion
from burnish.rollout.scheduler import Collected, Pace, Scheduler
from burnish.rollout.supply import Draw, Place, Supply
from burnish.rollout.trajectory import Origin, Trajectory
from burnish.rollout.versioned import Versioned


@dataclass(frozen=True)
class Answer:
    """A completion that somebody gave or might give. length: tokens."""

    length: int
    reward: float = 0.0


Recorded = Sequence[Sequence[Answer]]
"""Groups, each with its members. The n-th prompt gets the answers of the n-th, and so on around."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds. token_s: of one decoding step; row_s: of it for every row in it; rows: decoded at once at most; train_s: of one
    optimiser step; train_token_s: of it for every token of the policy's; send_s: to give the sampler new weights."""

    token_s: float
    row_s: float = 0.0
    rows: int = 256
    train_s: float = 0.0
    train_token_s: float = 0.0
    send_s: float = 0.0


@dataclass(frozen=True)
class Prediction:
    """What came out. seconds: in all; tokens: trained on, each once; staleness: of tokens, in versions; idle: shares of time in
    which the trainer waited for rollouts, and in which nothing was drawn; replayed: groups that were played for nothing."""

    seconds: float
    batches: int
    tokens: int
    staleness_mean: float
    staleness_max: int
    trainer_idle: float
    sampler_idle: float
    replayed: int

    @property
    def tokens_per_s(self) -> float:
        """Tokens trained on for every second."""
        return self.tokens / self.seconds if self.seconds else 0.0


def simulate(pace: Pace, timing: Timing, recorded: Recorded, batches: int, in_flight: bool = False) -> Prediction:
    """So many rollout batches. in_flight: the sampler takes weights while it draws; else it is emptied first."""
    loop = _Clock()
    try:
        return loop.run_until_complete(_Run(pace, timing, recorded, in_flight, loop).train(batches))
    finally:
        loop.close()


@dataclass
class _Row:
    """A completion in the making. done: tokens so far; versions: from which token on which weights drew."""

    length: int
    done: float
    versions: list[tuple[float, int]]
    answer: asyncio.Future[Completion]


@dataclass
class _Sampler:
    """Decodes all rows in step, as many as there is room for; the others wait."""

    timing: Timing
    recorded: Recorded
    capabilities: Capabilities
    loop: asyncio.AbstractEventLoop
    version: int = 0
    idle_s: float = 0.0
    _running: list[_Row] = field(default_factory=list)
    _waiting: list[_Row] = field(default_factory=list)
    _since: float = 0.0
    _next: asyncio.TimerHandle | None = None

    async def generate(self, ids: Sequence[int], sampling: SamplingSection, seed: int = 0) -> Completion:
        group, member = ids
        row = _Row(self.recorded[group % len(self.recorded)][member].length, 0.0, [], self.loop.create_future())
        self._advance()
        self._waiting.append(row)
        self._fill()
        try:
            return await row.answer
        finally:
            self._advance()
            self._running = [one for one in self._running if one is not row]
            self._waiting = [one for one in self._waiting if one is not row]
            self._fill()

    async def update(self, version: int, weights: Mapping[str, Any]) -> Receipt:
        await asyncio.sleep(self.timing.send_s)
        self._advance()
        self.version = version
        for row in self._running:
            row.versions.append((row.done, version))
        return Receipt.of(version, {})

    async def close(self) -> None:
        """Nothing is held."""

    def _advance(self) -> None:
        """Let the time since the last change pass for all rows."""
        now = self.loop.time()
        if self._running:
            step = self.timing.token_s + self.timing.row_s * len(self._running)
            for row in self._running:
                row.done += (now - self._since) / step
        else:
            self.idle_s += now - self._since
        self._since = now

    def _fill(self) -> None:
        """Begin what there is room for, and wake up when the next row is done."""
        while self._waiting and len(self._running) < self.timing.rows:
            row = self._waiting.pop(0)
            row.versions = [(0.0, self.version)]
            self._running.append(row)
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._running:
            left = max(0.0, min(row.length - row.done for row in self._running))
            step = self.timing.token_s + self.timing.row_s * len(self._running)
            self._next = self.loop.call_later(left * step, self._end)

    def _end(self) -> None:
        self._advance()
        ended = [row for row in self._running if row.done >= row.length - 1e-6]
        self._running = [row for row in self._running if row.done < row.length - 1e-6]
        for row in ended:
            begins = np.array([begin for begin, _ in row.versions])
            at = np.searchsorted(begins, np.arange(row.length) + 1e-6, side="right") - 1
            versions = [row.versions[place][1] for place in at]
            if not row.answer.done():
                row.answer.set_result(Completion([0] * row.length, [0.0] * row.length, True, versions))
        self._fill()


@dataclass
class _Run:
    pace: Pace
    timing: Timing
    recorded: Recorded
    in_flight: bool
    loop: asyncio.AbstractEventLoop

    async def train(self, batches: int) -> Prediction:
        """As a run does: send the weights, take a batch, train on it."""
        capabilities = Capabilities(in_flight=self.in_flight)
        sampler = _Sampler(self.timing, self.recorded, capabilities, self.loop)
        backend = Versioned(sampler)
        scheduler = Scheduler(self.pace, Supply(_Endless(), Place()), lambda draw: self._group(backend, draw))
        waited, tokens, replayed, ages = 0.0, 0, 0, [np.zeros(0, np.int64)]
        for number in range(batches):
            version, began = number * self.pace.steps, self.loop.time()
            await backend.update(version, {})
            collected = await scheduler.collect(version)
            waited += self.loop.time() - began
            trained = [one for one in collected.trajectories if one.is_trainable]
            ages += [np.asarray(version - one.versions, np.int64) for one in trained]
            tokens += sum(one.length for one in trained)
            replayed += collected.cut + collected.stale
            await asyncio.sleep(self._training_s(collected))
        seconds = self.loop.time()
        sampler._advance()
        await scheduler.stop()
        every = np.concatenate(ages)
        mean, most = (float(every.mean()), int(every.max())) if len(every) else (0.0, 0)
        return Prediction(seconds, batches, tokens, mean, most, waited / seconds, sampler.idle_s / seconds, replayed)

    def _training_s(self, collected: Collected) -> float:
        tokens = sum(one.length for one in collected.trajectories if one.is_trainable)
        return self.pace.steps * self.timing.train_s + tokens * self.timing.train_token_s

    async def _group(self, backend: Versioned, draw: Draw) -> list[Trajectory]:
        answers = self.recorded[draw.number % len(self.recorded)]
        sampling = SamplingSection()
        drawn = await asyncio.gather(
            *(backend.generate((draw.number, member), sampling) for member in range(len(answers)))
        )
        return [
            _trajectory(draw, member, completion, answer.reward)
            for member, (completion, answer) in enumerate(zip(drawn, answers, strict=True))
        ]


def _trajectory(draw: Draw, member: int, completion: Completion, reward: float) -> Trajectory:
    length = len(completion.ids)
    return Trajectory(
        origin=Origin(draw.source, draw.row, draw.part, draw.number, member),
        ids=np.zeros(length, np.int64),
        own=np.ones(length, np.bool_),
        versions=np.array(completion.versions, np.int32),
        tokens={},
        outcome="ok",
        rewards={"recorded": reward},
        reward=reward,
    )


class _Endless:
    """Prompts without end."""

    steps_per_epoch = None

    def units(self, start: Cursor) -> Iterator[tuple[list[Unit], Cursor]]:
        step = start.step
        while True:
            step += 1
            yield [Unit("prompt", (), row=step - 1)], Cursor(0, step)


class _Jump(selectors.DefaultSelector):
    """Never waits: time jumps to the next thing that is due."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RunError("the simulation stands still: everybody waits for somebody")
        self.now += max(0.0, timeout)
        return []


class _Clock(asyncio.SelectorEventLoop):
    """An event loop whose time is simulated."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now

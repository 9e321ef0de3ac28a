"""A backend without a model, as slow as it is told to be. Named in configs of the benchmarks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from burnish.config.sections import SamplingSection
from burnish.rollout.contract import Capabilities, Receipt
from burnish.rollout.sampler import Completion
from burnish.rollout.simulation import Timing

LETTERS = 200  # ids that answers are made of


@dataclass
class _Row:
    length: int
    answer: asyncio.Future[Completion]
    versions: list[int] = field(default_factory=list)


class Clocked:
    """A backend that waits. token_s, row_s: seconds of a decoding step, and for each row in it; rows: at once at most; mean,
    spread: of the log-normal lengths, which are a function of the seed alone."""

    def __init__(
        self, *, token_s: float, row_s: float, rows: int, mean: float, spread: float, in_flight: bool = False
    ) -> None:
        self.capabilities = Capabilities(in_flight=in_flight)
        self.timing = Timing(token_s=token_s, row_s=row_s, rows=rows)
        self.mean, self.spread = mean, spread
        self.version, self.busy_s = 0, 0.0
        self._waiting: list[_Row] = []
        self._decoding: asyncio.Task[None] | None = None

    async def generate(self, ids: Sequence[int], sampling: SamplingSection, seed: int = 0) -> Completion:
        """So many ids, after so many steps."""
        drawn = np.random.default_rng(seed).lognormal(np.log(self.mean) - self.spread**2 / 2, self.spread)
        row = _Row(int(np.clip(round(drawn), 1, sampling.max_new_tokens)), asyncio.get_running_loop().create_future())
        self._waiting.append(row)
        if self._decoding is None or self._decoding.done():
            self._decoding = asyncio.create_task(self._decode())
        return await row.answer

    async def update(self, version: int, weights: Mapping[str, Tensor]) -> Receipt:
        """A receipt for what was sent."""
        self.version = version
        return Receipt.of(version, weights)

    async def close(self) -> None:
        """Nothing is held."""

    async def _decode(self) -> None:
        running: list[_Row] = []
        now = time.perf_counter()
        while True:
            running = [row for row in running if not row.answer.done()]  # done: given up by who asked
            room = self.timing.rows - len(running)
            running, self._waiting = running + self._waiting[:room], self._waiting[room:]
            if not running:
                return
            step = self.timing.token_s + self.timing.row_s * len(running)
            now += step  # not the time of waking up: what is late is caught up with
            await asyncio.sleep(now - time.perf_counter())
            self.busy_s += step
            for row in running:
                row.versions.append(self.version)
                if len(row.versions) == row.length and not row.answer.done():
                    ids = [7 + place % LETTERS for place in range(row.length)]
                    row.answer.set_result(Completion(ids, [-1.0] * row.length, True, row.versions))

"""A backend whose weights change while others wait for completions: who may ask when, and which weights drew which id.

In: requests and updates, from coroutines of one loop. Out: completions whose every id has a version. Knows no prompts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from burnish.rollout.contract import Backend, Capabilities, Receipt
from burnish.rollout.sampler import Completion

if TYPE_CHECKING:
    from burnish.config.sections import SamplingSection


class Versioned:
    """The backend, and the version that it holds.

    One that cannot take weights in flight gets them when its last request is done; until then new requests wait. A completion
    that does not say which weights drew its ids counts as drawn by those that were there when it was begun.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.version = -1
        self.num_running = 0
        self.idle_s = 0.0
        """Seconds in which no completion was being drawn."""
        self._idle_since: float | None = time.monotonic()
        self._changed = asyncio.Condition()
        self._closed = False

    @property
    def capabilities(self) -> Capabilities:
        """What the backend can do."""
        return self.backend.capabilities

    async def generate(self, ids: Sequence[int], sampling: SamplingSection, seed: int = 0) -> Completion:
        """A completion, with versions."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._closed)
            self._running(+1)
        version = self.version
        try:
            completion = await self.backend.generate(ids, sampling, seed)
        finally:
            self._running(-1)
            if self._closed:
                async with self._changed:
                    self._changed.notify_all()
        return completion if completion.versions else replace(completion, versions=[version] * len(completion.ids))

    async def update(self, version: int, weights: Mapping[str, Tensor]) -> Receipt:
        """Give the backend new weights."""
        async with self._swapping(version):
            return await self.backend.update(version, weights)

    async def load_adapter(self, version: int, weights: Mapping[str, Tensor], config: Any) -> Receipt:
        """Give the backend a new adapter."""
        async with self._swapping(version):
            receipt: Receipt = await self.backend.load_adapter(version, weights, config)  # type: ignore[attr-defined]
            return receipt

    async def close(self) -> None:
        """Close the backend."""
        await self.backend.close()

    @asynccontextmanager
    async def _swapping(self, version: int) -> AsyncIterator[None]:
        if not self.capabilities.in_flight:
            async with self._changed:
                self._closed = True
                await self._changed.wait_for(lambda: not self.num_running)
        try:
            yield
            self.version = version
        finally:
            async with self._changed:
                self._closed = False
                self._changed.notify_all()

    def _running(self, change: int) -> None:
        self.num_running += change
        if self.num_running and self._idle_since is not None:
            self.idle_s += time.monotonic() - self._idle_since
            self._idle_since = None
        elif not self.num_running:
            self._idle_since = time.monotonic()

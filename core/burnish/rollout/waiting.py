"""Waiting: for a coroutine from plain code, for plain code from a coroutine, for one's turn.

Works where an event loop is running already, as in a notebook, and from one loop to the next, since every rollout has its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")
Shows = Callable[[int, int], None]
"""Is told how much is done, of how much, for whoever waits."""


def unseen(done: int, of: int) -> None:
    """Nobody looks."""


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """What the coroutine returns or raises; it runs in a loop of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


class Background:
    """An event loop in a thread of its own, which goes on while nobody waits for it. Begins when it is first asked."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns or raises; it runs in the thread's loop, beside what runs there already."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="burnish rollouts", daemon=True)
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def close(self) -> None:
        """End the loop and its thread."""
        if self._loop is None or self._thread is None:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None


async def in_thread(function: Callable[[], Any]) -> Any:
    """What the function gives, from a thread that nobody waits for once the time is over: it ends with the program."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[tuple[Any, Exception | None]] = loop.create_future()

    def tell(found: tuple[Any, Exception | None]) -> None:
        if not done.cancelled():
            done.set_result(found)

    def work() -> None:
        found: tuple[Any, Exception | None]
        try:
            found = function(), None
        except Exception as error:
            found = None, error
        with suppress(RuntimeError):  # the loop is over: it came too late
            loop.call_soon_threadsafe(tell, found)

    threading.Thread(target=work, daemon=True).start()
    answer, error = await done
    if error is not None:
        raise error
    return answer


@dataclass(frozen=True)
class Gate:
    """Lets so many in at once, in each event loop; None lets all in."""

    width: int | None = None
    _doors: WeakKeyDictionary[Any, asyncio.Semaphore] = field(default_factory=WeakKeyDictionary, compare=False, repr=False)

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        """Within: one of them."""
        if self.width is None:
            yield
            return
        async with self._doors.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(self.width)):
            yield

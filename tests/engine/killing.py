"""A run that dies for good in the middle of something. Imported by child processes of the tests, hence a module of its own."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from burnish.api import train
from burnish.engine import sending
from burnish.engine.step import StepRunner

NEVER = -1


def train_until(event: int, counted_in: str, config: dict[str, Any], options: dict[str, Any]) -> None:
    """Train, and be killed just before the `event`-th file is synced or renamed, batch is run, update of a backend is begun, or
    receipt for one is looked at. The number of events of a run that lives to its end is written to the file `counted_in`."""
    counter = itertools.count()

    def fatal(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            if next(counter) == event:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **keywords)

        return call

    os.fsync, os.rename, os.replace = fatal(os.fsync), fatal(os.rename), fatal(os.replace)
    StepRunner.run = fatal(StepRunner.run)  # type: ignore[method-assign]
    sending.outgoing, sending.require_receipt = fatal(sending.outgoing), fatal(sending.require_receipt)
    train(config, **options)
    Path(counted_in).write_text(str(next(counter)))

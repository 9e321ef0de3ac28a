"""A run that is killed for good at the rename of its second checkpoint. Child processes import it, hence its own module."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from burnish.api import train

NAME = "step-000004"


def train_until_rename(config: str, when: str) -> None:
    """Train, and die by SIGKILL just `before` or just `after` the finished checkpoint gets its name."""
    rename: Callable[..., Any] = os.rename

    def fatal(source: Any, target: Any, **keywords: Any) -> None:
        last = os.path.basename(target) == NAME
        if last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target, **keywords)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)

    os.rename = fatal
    train(config)

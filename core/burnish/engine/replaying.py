"""Training again on what a run has drawn: its journal becomes the new run's. In: a run's folder. Out: an observer.

The new run draws nothing while the journal lasts. With the same config it comes to the same weights, bit for bit.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from burnish.engine.distributed import on_first
from burnish.engine.rundir import RunDirectory
from burnish.errors import RunError
from burnish.rollout.journal import Journal

if TYPE_CHECKING:
    from burnish.engine.run import Run


@dataclass(frozen=True)
class Replayed:
    """run: whose journal is taken over."""

    run: Path

    def __post_init__(self) -> None:
        journal = self._journal
        if not journal.numbers():
            raise RunError(f"{self.run} has no rollouts: there is nothing in {journal.folder}")
        if first := journal.numbers()[0]:
            raise RunError(
                f"{self.run} cannot be trained again from the beginning: its journal begins with rollout batch {first}, since "
                "the run deleted older ones (rollout.keep); the source `replay` reads what is left"
            )

    def run_started(self, run: Run) -> None:
        """Put the journal where the run looks for its own."""

        def copy() -> None:
            if not run.directory.rollouts.exists():
                shutil.copytree(self._journal.folder, run.directory.rollouts, ignore=shutil.ignore_patterns("*.partial"))

        on_first(run.accelerator, copy)

    @property
    def _journal(self) -> Journal:
        return Journal(RunDirectory(self.run).rollouts)

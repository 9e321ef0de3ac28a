"""How much of the journal is kept: what `rollout.keep` says, and everything that a checkpoint goes on from.

In: a run that has just written a checkpoint. Out: nothing; files of the journal are gone.
"""

from __future__ import annotations

from burnish.engine.checkpoint import TRAINER
from burnish.engine.run import Run
from burnish.engine.state import load_plain
from burnish.rollout.batches import OnlineBatches, RolloutCursor


def shorten_journal(run: Run) -> None:
    """Delete rollout batches that are older than the newest `rollout.keep`, and than all that kept checkpoints go on from."""
    section, batches, checkpoints = run.config.rollout, run.batches, run.checkpoints
    if section is None or section.keep is None or not isinstance(batches, OnlineBatches):
        return
    cursors = (load_plain(checkpoints.path(step) / TRAINER, "cursor") for step in checkpoints.steps())
    needed = [RolloutCursor.from_json(cursor).rollout for cursor in cursors]
    batches.journal.forget_before(min([*needed, *batches.journal.numbers()[-section.keep :]]))

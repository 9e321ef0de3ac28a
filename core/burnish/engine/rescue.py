"""An error in the middle of a run loses nothing that was learnt: the last whole step becomes a checkpoint first.

In: a run, and whatever was raised in it. Out: a checkpoint, and the sentence that says how to go on. Mends nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from burnish.engine.loop import save
from burnish.engine.randomness import set_random_state
from burnish.engine.run import Run
from burnish.errors import RunError


@contextmanager
def rescued(run: Run) -> Iterator[None]:
    """Within it, an error of a run of one process saves first what was trained, as it was before the step that failed.

    Several processes seldom fail together, and only together can they save: there the regular checkpoints must do.
    """
    try:
        yield
    except Exception as error:
        if run.accelerator.num_processes == 1 and not run.torn and run.state.step > (run.state.saved_at or 0):
            _save(run)
        if isinstance(error, torch.OutOfMemoryError):
            raise _out_of_memory(run, error) from error
        raise


def _save(run: Run) -> None:
    if run.random is not None:
        set_random_state(run.random)
    try:
        save(run)
    except RunError as error:
        run.progress.say(f"the run could not be saved either: {error}")
    else:
        run.progress.say(f"saved as it was after step {run.state.step}: `burnish resume {run.path}` goes on from there")


def _out_of_memory(run: Run, error: torch.OutOfMemoryError) -> RunError:
    what, budget = str(error).partition(". ")[0], run.config.train.micro_batch_tokens
    return RunError(
        f"step {run.state.step + 1}: {what}. Lower train.micro_batch_tokens (it was {budget}), or set "
        "train.gradient_checkpointing to true; neither changes what is learnt"
    )

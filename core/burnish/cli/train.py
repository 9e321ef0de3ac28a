"""`burnish train`: train as a config says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="the run's config (.yaml)")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key.path=value, such as train.batch_size=8")] = None,
    profile: Annotated[bool, typer.Option("--profile", help="say where three steps' time goes; see RUN/profile")] = False,
) -> None:
    """Train a model, and write checkpoints, metrics and the model to the config's `output`.

    \b
    A config at its shortest:
      model: {name: FOLDER_OR_HUB_ID}
      data: {main: {source: pairs.jsonl}}
      objective: [dpo]
      output: runs/first

    `burnish plan` says what it would do, `burnish config show` what else it may hold.
    """
    from burnish.api import train as run_training
    from burnish.engine.interrupts import Interrupted
    from burnish.engine.profiling import Profiler

    try:
        run_training(config, overrides=overrides or [], observers=[Profiler()] if profile else None)
    except Interrupted as interrupted:
        raise typer.Exit(interrupted.code) from None

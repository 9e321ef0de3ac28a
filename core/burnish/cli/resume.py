"""`burnish resume`: go on with a run from its last checkpoint, exactly as it would have gone on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="the directory of the run")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key.path=value; needs --allow-changes")] = None,
    step: Annotated[int | None, typer.Option(help="go on from this step's checkpoint, not the newest")] = None,
    allow_changes: Annotated[bool, typer.Option("--allow-changes", help="go on although config, data or code changed")] = False,
) -> None:
    """Continue a run; refused when its config, data, plugins or code have changed since."""
    from burnish.api import train
    from burnish.engine.interrupts import Interrupted
    from burnish.engine.rundir import RunDirectory

    directory = RunDirectory(run)
    directory.require()
    where = f"output={run.resolve()}"
    try:
        train(directory.config, overrides=[*(overrides or []), where], resume=True, step=step, allow_changes=allow_changes)
    except Interrupted as interrupted:
        raise typer.Exit(interrupted.code) from None

"""`burnish new`: the package of a plugin, with a worked example to edit and tests that pass."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)

KINDS = "loss, weight, format, reward, advantage, environment, backend, source, model or recipe"


@app.command(no_args_is_help=True)
def new(
    kind: Annotated[str, typer.Argument(help=f"what it will provide: {KINDS}")],
    name: Annotated[str, typer.Argument(help="what a config will call it; the package becomes burnish-NAME")],
    output: Annotated[Path | None, typer.Option(help="the folder to write, instead of ./burnish-NAME")] = None,
) -> None:
    """Write the package of a plugin: a worked example to edit, its page, and tests that pass at once.

    `burnish new loss margin` writes ./burnish-margin with the formula in burnish_margin/loss.py.
    """
    from burnish.registry import load
    from burnish.templates.write import Beginning, require_free, write_package

    beginning = Beginning(kind, name)
    require_free(beginning, load())
    folder = output or Path(f"burnish-{beginning.slug}")
    for path in write_package(beginning, folder):
        typer.echo(f"wrote {folder / path}")
    where = shlex.quote(str(folder))
    typer.echo(f"next:\n  pip install -e {where}\n  pytest {where}\n  burnish plugins check {beginning.slug}")

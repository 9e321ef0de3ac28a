"""`burnish cache`: what is kept on disk between runs, and how to be rid of it. Loads no model.

Two things are kept: tokenised rows, and log-probabilities of frozen models. Losing either costs time, never a run.
"""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Annotated

import typer

HELP = "Look at what is kept on disk, and clear it."
app = typer.Typer(help=HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None)


class Part(StrEnum):
    """What is kept."""

    tokens = "tokens"
    logps = "logps"


Parts = Annotated[list[Part] | None, typer.Argument(help="tokens (tokenised rows), logps (of frozen models); both by default")]


@app.command()
def show() -> None:
    """Print where the cache lies, what it holds, and its limit."""
    from burnish.cli.plan import readable
    from burnish.data.cache import cache_folder, entries
    from burnish.model.cache import FILE, LIMIT, LogpCache, size_limit

    folder = cache_folder()
    sizes = entries(folder)
    typer.echo(f"folder  {folder.parent}")
    typer.echo(f"tokens  {len(sizes)} tokenised sources, {readable(sum(sizes.values()))}")
    if not (folder.parent / FILE).is_file():
        typer.echo("logps   none")
        return
    usage = LogpCache(folder.parent).usage()
    used = f", last used {_day(usage.oldest)} to {_day(usage.newest)}" if usage.entries else ""
    typer.echo(f"logps   {usage.entries} sequences of {usage.models} models, {readable(usage.num_bytes)}{used}")
    typer.echo(f"        at most {readable(size_limit())} are kept ({LIMIT}); those unused for longest go first")


@app.command()
def clear(parts: Parts = None) -> None:
    """Forget everything."""
    _trim(parts, 0)


@app.command()
def trim(size: Annotated[str, typer.Argument(help="what may stay of each part, such as 2GB")], parts: Parts = None) -> None:
    """Forget the oldest until no more than SIZE of each part is left."""
    from burnish.model.cache import size_of

    _trim(parts, size_of(size))


def _trim(parts: list[Part] | None, size: int) -> None:
    from burnish.data import cache as tokens
    from burnish.model.cache import FILE, LogpCache

    folder = tokens.cache_folder()
    if Part.tokens in (parts or Part):
        tokens.trim(folder, size)
    if Part.logps in (parts or Part) and (folder.parent / FILE).is_file():
        LogpCache(folder.parent).trim(size)
    show()


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(seconds))

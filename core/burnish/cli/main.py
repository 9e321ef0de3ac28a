"""`burnish`: finds a command's file when the command is used. Imports typer, and nothing of burnish but its errors."""

from __future__ import annotations

import os
import sys
import warnings
from functools import partial
from importlib import import_module
from typing import Annotated, Any

import typer
from typer import Option
from typer.core import TyperCommand, TyperGroup

from burnish import __version__
from burnish.errors import BurnishError, ObjectiveError, PluginError, RewardError

COMMANDS = {
    "train": "Train a model as a config says.",
    "resume": "Continue a run from its last checkpoint.",
    "plan": "Say what a run would do and need, without loading weights.",
    "data": "Look at training rows and find what is wrong with them.",
    "generate": "Let a model or a run answer.",
    "score": "Let a reward model judge answers or steps.",
    "rollouts": "Look at what a run wrote itself, and make data of it.",
    "export": "Write a run's model for use elsewhere.",
    "config": "Show and check a config, or describe all keys.",
    "cache": "Look at what is kept on disk, and clear it.",
    "plugins": "Show and check the installed plugins.",
    "new": "Begin a plugin: a loss, a format, a reward, ...",
    "env": "Say what this machine and installation have.",
}


class LazyGroup(TyperGroup):
    """Commands that are listed from the table above; the one that is used is imported then."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "commands": {name: TyperCommand(name, help=text) for name, text in COMMANDS.items()}})

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that `args` begin with, imported."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, typer.main.get_command(import_module(f"burnish.cli.{name}").app) if name else None, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a user's mistake is one message, not a traceback."""
        try:
            return super().invoke(ctx)
        except BurnishError as error:
            if ctx.params["debug"]:
                raise
            if os.environ.get("RANK", "0") != "0":
                raise typer.Exit(2) from error  # the first process of a run says it for all
            typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
            if isinstance(error, PluginError | ObjectiveError | RewardError) and isinstance(error.__cause__, Exception):
                typer.echo("`burnish --debug COMMAND` shows the traceback", err=True)
            raise typer.Exit(2) from error


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"burnish {__version__}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    no_plugin: Annotated[list[str] | None, Option(metavar="NAME", help="Leave a plugin out, before its import.")] = None,
    debug: Annotated[bool, Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, Option("--version", callback=_print_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """Post-train language models: fine-tuning, preferences, rewards.

    A config says what is done; `burnish train --help` shows the shortest one.
    """
    if not debug:
        ctx.call_on_close(partial(setattr, warnings, "showwarning", warnings.showwarning))
        warnings.showwarning = _show_warning
    if not sys.stderr.isatty():
        for library in ("HF_HUB", "HF_DATASETS"):
            os.environ.setdefault(f"{library}_DISABLE_PROGRESS_BARS", "1")
    if no_plugin:
        from burnish.registry.discovery import DISABLE

        # Through the environment, so that worker processes leave the same plugins out.
        before = os.environ.get(DISABLE, "")
        ctx.call_on_close(partial(os.environ.update, {DISABLE: before}))
        os.environ[DISABLE] = ",".join([before, *no_plugin])


def _show_warning(message: Warning | str, category: type[Warning], *place: Any, **further: Any) -> None:
    """A warning as a user reads it: without its place in the code, and none that a library has for its callers."""
    if not issubclass(category, FutureWarning | DeprecationWarning):
        typer.secho(f"warning: {message}", fg=typer.colors.YELLOW, err=True)

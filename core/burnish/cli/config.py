"""`burnish config`: what a config means once everything is filled in, and what may stand in one. Runs no code that it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

HELP = "Show and check a config, or describe all keys."
app = typer.Typer(help=HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.command()
def show(
    config: Annotated[Path, typer.Argument(help="a run's config")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key.path=value, such as train.batch_size=8")] = None,
) -> None:
    """Print every value of a config, and where it is from."""
    from burnish import registry as plugins
    from burnish.config import load_config, to_yaml, with_plugin_options

    checked = load_config(config, overrides or [])
    typer.echo(to_yaml(with_plugin_options(checked, plugins.load(checked.plugins.disable))), nl=False)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a config.

    It holds everything that the installed plugins add; editors complete from it.
    """
    from burnish import registry as plugins
    from burnish.config.schema import config_schema

    typer.echo(json.dumps(config_schema(plugins.load()), indent=2))

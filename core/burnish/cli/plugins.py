"""`burnish plugins`: what is installed, what each provides, and whether it works."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from burnish.errors import PluginError, nearest
from burnish.registry import PluginInfo, Record, Registry, is_custom, load

if TYPE_CHECKING:
    from collections.abc import Iterator

HELP = "Show and check the installed plugins."
app = typer.Typer(help=HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.command("list")
def list_plugins() -> None:
    """One line for every plugin: name, distribution, what it provides, or why it failed."""
    rows = [(plugin.name, plugin.provider, _provides(plugin)) for plugin in load().plugins]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, provider, provides in rows:
        typer.echo(f"{name:<{widths[0]}}  {provider:<{widths[1]}}  {provides}")


@app.command()
def show(name: Annotated[str, typer.Argument(help="a plugin, or something that one provides")]) -> None:
    """Everything about one plugin, or about what has this name: options, sources, or the error with its traceback."""
    registry = load()
    found = [plugin for plugin in registry.plugins if name == plugin.name or name in (record.name for record in plugin.records)]
    if not found:
        known = {record.name for plugin in registry.plugins for record in plugin.records} | {p.name for p in registry.plugins}
        near = nearest(name, known)
        hint = f" Did you mean '{near}'?" if near else ""
        raise PluginError(f"no plugin and nothing of a plugin is named '{name}'.{hint} `burnish plugins list` names them all.")
    for plugin in found:
        typer.secho(f"{plugin.name}: {plugin.provider} ({plugin.module}, {plugin.hash})", bold=True)
        if plugin.error:
            typer.secho(plugin.trace or plugin.error, fg=typer.colors.RED)
        for record in plugin.records:
            if name in (plugin.name, record.name):
                typer.echo("\n".join(_described(registry, record)))
        for hook in plugin.observes:
            typer.echo(f"  observes {hook}")


@app.command()
def check(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME | FOLDER | module:attr | ./file.py:attr | CONFIG]",
            help="a plugin, its package or that one's folder, something that it provides or a piece of code, to be checked "
            "whole; or a config whose own code is imported and looked at",
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="check on more batches, in more precisions, on two processes")] = False,
) -> None:
    """Run the conformance kit on what is named; without a name, import everything that is installed.

    Exit code 1 when something is wrong.
    """
    registry = load(run_code=True)
    if what is None and full:
        raise PluginError("say what to check in full: `burnish plugins check NAME --full`")
    if what is None or (not is_custom(what) and Path(what).is_file()):
        _check_imports(registry, Path(what) if what else None)
    else:
        _check_conformance(what, registry, full)


def _check_imports(registry: Registry, config: Path | None) -> None:
    from burnish.registry.inspection import problems

    wrong = list(problems(registry))
    if config is not None:
        wrong += _custom_problems(config, registry)
    for problem in wrong:
        typer.secho(problem, fg=typer.colors.RED, err=True)
    if wrong:
        raise typer.Exit(1)
    num_records = sum(len(plugin.records) for plugin in registry.plugins)
    typer.echo(f"{len(registry.plugins)} plugins with {num_records} records: everything imports")


def _check_conformance(what: str, registry: Registry, full: bool) -> None:
    from rich.console import Console

    from burnish.testing.conformance.everything import check_everything

    console = Console()
    failed = 0
    for report in check_everything(what, registry, "full" if full else "fast"):
        console.print(report)
        failed += not report.ok
    if failed:
        raise typer.Exit(1)


def _provides(plugin: PluginInfo) -> str:
    if plugin.error:
        return f"FAILED {plugin.error}"
    kinds = Counter(record.word for record in plugin.records)
    parts = [
        f"{num} {word}s" if num > 3 else f"{word} {', '.join(record.name for record in plugin.records if record.word == word)}"
        for word, num in kinds.items()
    ]
    return "; ".join([*parts, *plugin.observes])


def _described(registry: Registry, record: Record) -> Iterator[str]:
    """A record and the options of its target."""
    from burnish.config.messages import known_keys
    from burnish.config.options import defaults, descriptions, options_model, takes_options

    yield f"  {record.word} {record.name}: {record.summary}"
    for field, value in vars(record).items():
        if field not in ("name", "summary", "api") and value:
            yield f"    {field}: {value}"
    try:
        target = registry.resolve(record)
    except PluginError as error:
        yield f"    {error}"
        return
    if takes_options(record, target):
        unasked, said = defaults(target), descriptions(target)
        for option in known_keys(options_model(target)):
            yield f"    option {option}: {json.dumps(unasked[option]) if option in unasked else 'required'}"
            if option in said:
                yield f"      {' '.join(said[option].split())}"


def _custom_problems(config: Path, registry: Registry) -> list[str]:
    from burnish.config import load_config
    from burnish.config.custom import named_values
    from burnish.registry.inspection import target_problems

    found: list[str] = []
    for named in named_values(load_config(config, registry=registry)):
        if is_custom(named.value):
            try:
                found += target_problems(named.names.kind, registry.custom(named.value), f"{named.path}: '{named.value}'")
            except PluginError as error:
                found.append(f"{named.path}: {error}")
    return found

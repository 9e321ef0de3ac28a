"""`burnish data`: look at rows as a model will see them, and find what is wrong with them. Loads a tokenizer, never weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from burnish.config.sections import Sections
    from burnish.registry import Registry

HELP = "Look at training data, and check it."
app = typer.Typer(help=HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None)

What = Annotated[str, typer.Argument(help="a run's config (.yaml), or data: a file, folder, hub id or plugin source")]
Overrides = Annotated[list[str] | None, typer.Argument(help="key.path=value, such as data.main.format=alpaca")]
Tokenizer = Annotated[str | None, typer.Option("--tokenizer", help="model whose tokenizer is used; needed without a config")]
Source = Annotated[str | None, typer.Option("--source", help="only this source of the config")]


@app.command()
def show(
    what: What,
    overrides: Overrides = None,
    tokenizer: Tokenizer = None,
    source: Source = None,
    rows: Annotated[int, typer.Option(min=1, help="how many rows of each source")] = 3,
    start: Annotated[int, typer.Option(min=0, help="first row")] = 0,
    mask: Annotated[str, typer.Option(help="mark: completion, all, assistant, last, end, steps, last_step")] = "completion",
) -> None:
    """Print rows as tokens, those that are trained on marked."""
    from itertools import islice

    from rich.console import Console

    from burnish.data.prepare import open_reader, render_chunk
    from burnish.data.render import Renderer
    from burnish.data.show import show_row

    config, registry = _config(what, overrides or [], tokenizer)
    console = Console(highlight=False, soft_wrap=True)
    renderer = Renderer(_tokenizer(config, registry), config.render)
    for name in _names(config, source):
        reader = open_reader(name, config.data[name], registry)
        console.rule(f"{name}: format {reader.report().made_by}", align="left")
        chunk = list(islice(reader.examples(), start, start + rows))
        for place, _, rendered in render_chunk(chunk, renderer, name):
            for text in show_row(place, rendered, renderer.tokenizer, mask, colour=console.color_system is not None):
                console.print(text)
        if not chunk:
            console.print(f"there is no row {start}")


@app.command()
def lint(
    what: What,
    overrides: Overrides = None,
    tokenizer: Tokenizer = None,
    source: Source = None,
    strict: Annotated[bool, typer.Option("--strict", help="exit 1 on warnings too")] = False,
) -> None:
    """Check every row. Exits 1 when something is wrong: rows that cannot be used, ties, answers without an end, leakage."""
    from rich.console import Console

    from burnish.data.lint import lint as check
    from burnish.data.prepare import held_out_section, open_reader
    from burnish.data.render import Renderer

    config, registry = _config(what, overrides or [], tokenizer)
    console = Console(highlight=False, soft_wrap=True)
    renderer = Renderer(_tokenizer(config, registry), config.render)
    levels: set[str] = set()
    for name in _names(config, source):
        section = config.data[name]
        reader, held_out = open_reader(name, section, registry), None
        if isinstance(section.holdout, str):
            held_out = open_reader(name, held_out_section(section, section.holdout, reader.format), registry)
        report, findings = check(reader, renderer, held_out)
        console.print(f"{name}: {report.rows} rows of format {report.made_by}, {report.kept} usable; findings: {len(findings)}")
        for finding in findings:
            style = "red" if finding.level == "error" else "yellow"
            console.print(f"  [{style}]{finding.level}[/] {finding.check}: ", end="")
            console.print(finding.text, markup=False)
        levels |= {finding.level for finding in findings}
    raise typer.Exit(1 if "error" in levels or (strict and levels) else 0)


def _config(what: str, overrides: list[str], tokenizer: str | None) -> tuple[Sections, Registry]:
    """The config in the file `what`, or one made of data and tokenizer."""
    from burnish import registry as plugins
    from burnish.config import load_config
    from burnish.errors import ConfigError

    given: Any = Path(what)
    if given.suffix not in (".yaml", ".yml"):
        given = {"data": {"main": {"source": what}}}
    if tokenizer is not None:
        overrides = [*overrides, f"model.name={tokenizer}"]
    config = load_config(given, overrides)
    if config.model.name is None:
        raise ConfigError("rows become tokens only with a tokenizer: give --tokenizer MODEL")
    return config, plugins.load(config.plugins.disable)


def _tokenizer(config: Sections, registry: Registry) -> Any:
    from burnish.model.loading import load_tokenizer

    return load_tokenizer(config.model, registry)


def _names(config: Sections, source: str | None) -> list[str]:
    from burnish.errors import ConfigError, did_you_mean

    if source is not None and source not in config.data:
        raise ConfigError(f"the config has no data source '{source}'. {did_you_mean(source, config.data)}")
    return [source] if source is not None else list(config.data)

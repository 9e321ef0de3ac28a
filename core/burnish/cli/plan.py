"""`burnish plan`: what a run would do and need. Loads a tokenizer and the model's config, never weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from burnish.config import Config
    from burnish.engine.forecast import Forecast

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def plan(
    config: Annotated[Path, typer.Argument(help="the run's config (.yaml)")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key.path=value, such as train.batch_size=8")] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="what the schedule of rollouts will come to")] = False,
    like: Annotated[Path | None, typer.Option(help="a run whose lengths, rewards and training speed to simulate with")] = None,
    mean_length: Annotated[float | None, typer.Option(help="instead: tokens of a completion, log-normally distributed")] = None,
    spread: Annotated[float, typer.Option(help="with it: standard deviation of the logarithm")] = 0.6,
    token_s: Annotated[float | None, typer.Option(help="seconds of a decoding step")] = None,
    row_s: Annotated[float, typer.Option(help="and for every row in it")] = 0.0,
    rows: Annotated[int, typer.Option(min=1, help="rows decoded at once at most")] = 256,
    train_s: Annotated[float | None, typer.Option(help="seconds of an optimiser step")] = None,
    send_s: Annotated[float, typer.Option(help="seconds to send the weights")] = 0.0,
    in_flight: Annotated[bool, typer.Option("--in-flight", help="the sampler takes weights while it draws")] = False,
) -> None:
    """Print the resolved config, the data, steps, tokens, memory, and why a feature is off; or simulate its rollouts."""
    from burnish import registry as plugins
    from burnish.config import load_config, to_yaml, with_plugin_options
    from burnish.engine.forecast import forecast

    loaded = load_config(config, overrides or [])
    registry = plugins.load(loaded.plugins.disable)
    loaded = with_plugin_options(loaded, registry)
    if simulate:
        from burnish.engine.prediction import Assumed, simulation

        assumed = Assumed(like, mean_length, spread, token_s, row_s, rows, train_s, send_s, in_flight)
        for line in simulation(loaded, assumed):
            typer.echo(line)
        return
    found = forecast(loaded, registry)
    sections = {
        "config": to_yaml(loaded).rstrip().splitlines(),
        "data": [*found.data.report.lines(), *found.ignored],
        "steps": steps(loaded, found),
        "tokens": tokens(loaded, found),
        "memory": memory(found),
        "off": [f"{feature}: {why}" for feature, why in found.off.items()],
    }
    for title, lines in sections.items():
        typer.secho(title, bold=True)
        for line in lines:
            typer.echo(f"  {line}")


def steps(config: Config, found: Forecast) -> Iterator[str]:
    """How many updates, and of what."""
    from burnish.rollout.foreseen import num_steps, smaller_steps, step_size, steps_a_pass

    rollout, batch_size = config.rollout, config.train.batch_size
    length = num_steps(rollout, found.data, 1.0, batch_size)
    size = batch_size if rollout is None else step_size(rollout, batch_size)
    what = "units" if rollout is None else "pairs" if rollout.pairs else "completions"
    if found.num_steps is None:
        yield "not known: a stream has no length; set train.steps"
    elif length is None:
        yield f"{found.num_steps} steps of {size} {what}, from a stream"
    else:
        yield f"{found.num_steps} steps of {size} {what}; an epoch has {length}"
    if rollout is not None:
        pieces = steps_a_pass(rollout, batch_size)
        passes = f"{rollout.epochs} pass{'es' if rollout.epochs > 1 else ''} of {pieces} step{'s' if pieces > 1 else ''}"
        yield f"each rollout batch is {rollout.prompts} prompts by {rollout.group_size} completions, trained on in {passes}"
        if (sentence := smaller_steps(rollout, batch_size)) is not None:
            yield sentence


def tokens(config: Config, found: Forecast) -> Iterator[str]:
    """Tokens of a step in each layout, and how the one that runs is cut."""
    count = found.tokens
    if not count.batches:
        yield "no batch to measure"
        return
    saved = {
        "padded": "rectangles, pads counted",
        "packed": f"{count.padded / count.packed:.2f} times fewer than padded",
        "tree": f"{count.packed / count.tree:.2f} times fewer than packed: shared prefixes count once",
    }
    yield f"forwarded in a step, mean of the first {count.batches}:"
    for kind, gain in saved.items():
        yield f"  {kind:8}{count.of(kind) / count.batches:>10,.0f}   {gain}"
    forwards = count.forwards / count.batches
    yield f"this run: {found.layout.kind}, {forwards:.1f} micro-batches a step, each of at most {found.budget:,} tokens"
    for role in sorted((found.roles or frozenset()) & {"reference", "teacher"}):
        moves = role == "reference" and config.reference.sync is not None
        known = "every time, since it moves" if moves else "once for each row (then its log-probabilities are known)"
        yield f"{role}: as many again, {known}"


def memory(found: Forecast) -> Iterator[str]:
    """Bytes by part and in all, beside what is free."""
    for name, size in {**found.memory, "together": sum(found.memory.values())}.items():
        yield f"{name:18}{readable(size):>10}"
    yield f"free on {found.device.type}: {readable(found.free)}"


def readable(size: int) -> str:
    """Bytes for people: 538 MB, 1.2 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"

"""`burnish rollouts`: look at what a run wrote and what it was worth, and make data of it. Loads a tokenizer, never weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from burnish.cli.generate import TrustRemoteCode

if TYPE_CHECKING:
    from burnish.rollout.journal import Journal
    from burnish.rollout.selection import Choice

HELP = "Look at a run's rollouts, and make data of them."
app = typer.Typer(help=HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None)

Run = Annotated[Path, typer.Argument(help="the run's folder")]
Number = Annotated[int | None, typer.Option(help="only this rollout batch")]
Outcome = Annotated[str | None, typer.Option(help="only this outcome: ok, truncated, filtered, timeout, reward_error, ...")]
MinReward = Annotated[float | None, typer.Option(help="smallest reward")]
MaxReward = Annotated[float | None, typer.Option(help="largest reward")]
MinLength = Annotated[int | None, typer.Option(help="fewest tokens of the policy's")]
MaxLength = Annotated[int | None, typer.Option(help="most tokens of the policy's")]


@app.command()
def show(
    run: Run,
    number: Number = None,
    outcome: Outcome = None,
    min_reward: MinReward = None,
    max_reward: MaxReward = None,
    min_length: MinLength = None,
    max_length: MaxLength = None,
    limit: Annotated[int, typer.Option(min=1, help="trajectories to print, the newest first")] = 8,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Print prompts and answers with their rewards, then how many there are."""
    from rich.console import Console

    from burnish.rollout.selection import Choice, by_step, texts

    journal, tokenizer = _open(run, trust_remote_code)
    console = Console(highlight=False, soft_wrap=True)
    choice = Choice(number, outcome, min_reward, max_reward, min_length, max_length)
    chosen = [(at, one) for at, found in choice.of(journal) for one in found]
    for at, one in chosen[::-1][:limit]:
        rewards = ", ".join(f"{name} {'-' if value is None else f'{value:.3g}'}" for name, value in one.rewards.items())
        place = f"rollout {at}, row {one.origin.row} of {one.origin.source}, member {one.origin.member}"
        what = f"reward {one.reward:.3g} ({rewards}), {one.outcome}, {one.length} tokens"
        console.print(f"{place}: {what}", style="bold", markup=False)
        prompt, answer = texts(one, tokenizer)
        console.print(prompt, style="dim", markup=False)
        console.print(answer, markup=False)
        for name, steps in by_step(one).items():
            console.print(f"{name}, step by step: {', '.join(f'{step:.3g}' for step in steps)}", style="dim", markup=False)
        if one.error:
            console.print(one.error.rstrip(), style="red", markup=False)
    console.print(f"{len(chosen)} trajectories in {len({at for at, _ in chosen})} of {len(journal.numbers())} rollout batches")


@app.command()
def export(
    run: Run,
    output: Annotated[Path, typer.Argument(help="the JSONL file to write; one that exists is refused")],
    form: Annotated[
        str, typer.Option("--as", help="completions (text), preferences (best and worst of a group), trajectories (ids)")
    ] = "completions",
    number: Number = None,
    outcome: Outcome = None,
    min_reward: MinReward = None,
    max_reward: MaxReward = None,
    min_length: MinLength = None,
    max_length: MaxLength = None,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Write rows to train on: good answers for sft, pairs for dpo, trajectories with all their numbers."""
    from typing import cast, get_args

    from burnish.engine.manifest import write_text
    from burnish.errors import RunError, did_you_mean
    from burnish.rollout.selection import Choice, Form, rows

    if form not in get_args(Form):
        raise RunError(f"--as {form}: no such form. {did_you_mean(form, get_args(Form))}")
    if output.exists():
        raise RunError(f"{output} exists; choose another file")
    journal, tokenizer = _open(run, trust_remote_code)
    choice: Choice = Choice(number, outcome, min_reward, max_reward, min_length, max_length)
    made = [row for _, found in choice.of(journal) for row in rows(found, cast("Form", form), tokenizer)]
    if not made:
        raise RunError(f"no row is left: {run} has {len(journal.numbers())} rollout batches, none of which gives such a row")
    write_text(output, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made))
    typer.echo(f"{len(made)} rows: {output}")


@app.command()
def replay(
    run: Run,
    output: Annotated[Path, typer.Argument(help="the new run's folder")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key.path=value, such as optimizer.lr=1e-6")] = None,
) -> None:
    """Train again on what a run has drawn, in the same order; with other settings if you like. It draws nothing meanwhile."""
    from burnish.api import train
    from burnish.engine.replaying import Replayed
    from burnish.engine.rundir import RunDirectory

    train(
        RunDirectory(run).config, overrides=[f"output={json.dumps(str(output))}", *(overrides or [])], observers=[Replayed(run)]
    )


def _open(run: Path, trust_remote_code: bool) -> tuple[Journal, Any]:
    """The journal of a run, and the tokenizer of its model."""
    from burnish import registry as plugins
    from burnish.engine.rundir import RunDirectory
    from burnish.engine.saved import model_section
    from burnish.errors import RunError
    from burnish.model.loading import load_tokenizer
    from burnish.rollout.journal import Journal

    directory = RunDirectory(run)
    journal = Journal(directory.rollouts)
    section = model_section(run).model_copy(update={"trust_remote_code": trust_remote_code})
    if not journal.numbers():
        raise RunError(f"{run} has no rollouts: there is nothing in {directory.rollouts}")
    return journal, load_tokenizer(section, plugins.load())

"""`burnish export`: a run or checkpoint in Hugging Face form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from burnish.cli.generate import TrustRemoteCode

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def export(
    what: Annotated[str, typer.Argument(help="a run, one of its checkpoints, or an adapter folder")],
    output: Annotated[Path, typer.Argument(help="folder to write; it must not exist")],
    merge: Annotated[bool, typer.Option("--merge", help="merge the adapter into the weights")] = False,
    step: Annotated[int | None, typer.Option(help="the checkpoint of this step, instead of the final model")] = None,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Write a model that transformers loads, or a PEFT adapter, with its tokenizer."""
    from burnish import registry
    from burnish.engine.saved import export_saved, open_saved

    # Merging into rounded weights would lose what the adapter learnt.
    whole = {"quantize": None} if merge else {}
    saved = open_saved(what, registry.load(), step, {**whole, "trust_remote_code": trust_remote_code})
    export_saved(saved, output, merge=merge)
    typer.echo(f"{saved.what} -> {output}")

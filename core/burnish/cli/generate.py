"""`burnish generate`: chat with a model or let it complete a text: one prompt, standard input, or a conversation."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from burnish.config.sections import SamplingSection
    from burnish.rollout.sampler import HFSampler

app = typer.Typer(add_completion=False, rich_markup_mode=None)
TrustRemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="run Python code that comes with the model")]


@app.command()
def generate(
    what: Annotated[str, typer.Argument(help="a run, a checkpoint, a model folder, or a model by name")],
    prompt: Annotated[str | None, typer.Option("--prompt", "-p", help="answer this; else standard input is read")] = None,
    system: Annotated[str | None, typer.Option(help="a system message to begin with")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="complete the text as it is, without the chat template")] = False,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="tokens of an answer at most")] = 256,
    temperature: Annotated[float, typer.Option(min=0, help="0 takes the most likely token")] = 0.0,
    top_p: Annotated[float, typer.Option(min=1e-6, max=1, help="the likeliest tokens that have this share; 1 keeps all")] = 1.0,
    top_k: Annotated[int, typer.Option(min=0, help="0 keeps all")] = 0,
    repetition_penalty: Annotated[float, typer.Option(min=1e-6, help="above 1, words that were said become less likely")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="of the draws")] = 0,
    step: Annotated[int | None, typer.Option(help="the checkpoint of this step, instead of the final model")] = None,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Let a model answer. Models with a chat template chat, others complete."""
    import torch

    from burnish import registry
    from burnish.config.sections import SamplingSection
    from burnish.engine.saved import open_saved
    from burnish.errors import ModelError
    from burnish.rollout.sampler import HFSampler

    sampling = SamplingSection(
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        repetition_penalty=repetition_penalty,
    )
    saved = open_saved(what, registry.load(), step, {"trust_remote_code": trust_remote_code})
    saved.model.to("cuda" if torch.cuda.is_available() else "cpu")
    chats = saved.tokenizer.chat_template is not None and not raw
    if system is not None and not chats:
        why = "--raw completes the text alone" if raw else f"{what} has no chat template"
        raise ModelError(f"--system begins a conversation, but {why}; leave it out")
    speaker = Speaker(HFSampler(saved.model, saved.tokenizer), saved.tokenizer, sampling, seed, chats, system)
    if prompt is not None:
        typer.echo(speaker.answer(prompt))
    elif not sys.stdin.isatty():
        typer.echo(speaker.answer(sys.stdin.read().removesuffix("\n")))
    else:
        typer.secho(f"{saved.what}: {'chat' if chats else 'complete'}; an empty line begins anew, Ctrl-D ends", err=True)
        converse(speaker, lines_typed())


@dataclass
class Speaker:
    """A model in a conversation. said: the messages so far, the system's first."""

    sampler: HFSampler
    tokenizer: Any
    sampling: SamplingSection
    seed: int = 0
    chats: bool = True
    system: str | None = None
    said: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin a new conversation."""
        self.said = [] if self.system is None else [{"role": "system", "content": self.system}]

    def answer(self, text: str) -> str:
        """What the model says to `text`, or how it goes on from there."""
        from burnish.config.sections import RenderSection
        from burnish.data.examples import Prompt
        from burnish.data.render import Renderer

        if self.chats:
            self.said.append({"role": "user", "content": text})
        example = Prompt(tuple(self.said) if self.chats else text)
        ids = Renderer(self.tokenizer, RenderSection()).prompt_ids(example).tolist()
        [completion] = self.sampler.generate([ids], self.sampling, self.seed)
        reply = str(self.tokenizer.decode(completion.ids, skip_special_tokens=True))
        if self.chats:
            self.said.append({"role": "assistant", "content": reply})
        return reply


def converse(speaker: Speaker, lines: Iterable[str]) -> None:
    """Answer every line; an empty one begins a new conversation."""
    for line in lines:
        if line.strip():
            typer.echo(speaker.answer(line))
        else:
            speaker.forget()


def lines_typed() -> Iterable[str]:
    """Lines from the terminal, until its end."""
    while True:
        try:
            yield input("> ")
        except (EOFError, KeyboardInterrupt):
            typer.echo()
            return

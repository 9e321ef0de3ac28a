"""Canonical examples: what a format makes of a raw row. Knows no tokenizer, no mask and no id but those a trajectory brings.

A `prompt`, `chosen`, `rejected`, `completion` is *said*: a str (standard) or a tuple of messages (conversational).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from burnish.errors import DataError

Row: TypeAlias = Mapping[str, Any]
Message: TypeAlias = dict[str, Any]
Said: TypeAlias = str | tuple[Message, ...]


class RowError(DataError):
    """A row that is not what its format expects; the message says what was expected and what was found."""

    reason = "bad_row"


class NoExample(RowError):
    """A row that is well formed and holds nothing to learn from. It is dropped and counted. reason: `no_example`, or `no_pair`:
    nothing to pair it with."""

    def __init__(self, message: str, reason: str = "no_example") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Side:
    """Columns that any kind of row may carry.

    tools: schemas offered to the model. images: one per image placeholder. chat_template_kwargs: further arguments of the chat
    template. weight: multiplies the row's loss. margin: how much better chosen is than rejected. columns: everything else,
    handed to reward functions.
    """

    tools: tuple[Any, ...] = ()
    images: tuple[Any, ...] = ()
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    weight: float | None = None
    margin: float | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)


def same_form(*parts: Said) -> None:
    """Refuses a row of which one part is text and another is messages, or a part is neither."""
    if wrong := [part for part in parts if not isinstance(part, str | tuple)]:
        raise RowError(f"expected text or a tuple of messages, found {type(wrong[0]).__name__}")
    if len({isinstance(part, str) for part in parts}) > 1:
        raise RowError("expected all parts of the row as text or all as messages, found both")


@dataclass(frozen=True)
class _Row:
    """What all examples have."""

    kind: ClassVar[str]
    side: Side = field(default_factory=Side, kw_only=True)

    def __post_init__(self) -> None:
        said = (getattr(self, part) for part in ("prompt", "completion", "chosen", "rejected", "gold") if hasattr(self, part))
        same_form(*said, *getattr(self, "completions", ()))

    @property
    def columns(self) -> Mapping[str, Any]:
        """The row's further columns, for rewards."""
        return self.side.columns


@dataclass(frozen=True)
class Text(_Row):
    """Running text; every token is a target."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Chat(_Row):
    """A conversation; the assistant's turns are targets."""

    kind: ClassVar[str] = "chat"
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class PromptCompletion(_Row):
    """A prompt and what should follow it."""

    kind: ClassVar[str] = "prompt_completion"
    prompt: Said
    completion: Said


@dataclass(frozen=True)
class Preference(_Row):
    """Two completions of a prompt, the first preferred."""

    kind: ClassVar[str] = "preference"
    prompt: Said
    chosen: Said
    rejected: Said


@dataclass(frozen=True)
class Triple(_Row):
    """A preference and a gold answer, better than both."""

    kind: ClassVar[str] = "triple"
    prompt: Said
    chosen: Said
    rejected: Said
    gold: Said


@dataclass(frozen=True)
class Ranked(_Row):
    """Completions of a prompt, best first."""

    kind: ClassVar[str] = "ranked"
    prompt: Said
    completions: tuple[Said, ...]


@dataclass(frozen=True)
class Rated(_Row):
    """A completion with a number that says how good it is."""

    kind: ClassVar[str] = "rated"
    prompt: Said
    completion: Said
    rating: float


@dataclass(frozen=True)
class Unpaired(_Row):
    """A completion that was liked (True) or not."""

    kind: ClassVar[str] = "unpaired"
    prompt: Said
    completion: Said
    label: bool


@dataclass(frozen=True)
class Stepwise(_Row):
    """A solution in steps, each right (1) or wrong (0), or right with a probability."""

    kind: ClassVar[str] = "stepwise"
    prompt: Said
    steps: tuple[str, ...]
    labels: tuple[float, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.steps or len(self.steps) != len(self.labels):
            found = f"{len(self.steps)} steps and {len(self.labels)} labels"
            raise RowError(f"expected steps and one label for each; found {found}")


@dataclass(frozen=True)
class Prompt(_Row):
    """A prompt to be answered; `columns` say how the answer is judged."""

    kind: ClassVar[str] = "prompt"
    prompt: Said


@dataclass(frozen=True)
class Trajectory(_Row):
    """Token ids that a sampler made. spans: [start, end) of the policy's own tokens, which are the targets.

    tokens: name -> one number per id (`advantages`, `old`, `behaviour`, `reference`), read at targets, or several
    (`likeliest_ids`, `likeliest_logps`). scalars: name -> a number of the whole trajectory (`truncated`).
    """

    kind: ClassVar[str] = "trajectory"
    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    tokens: Mapping[str, tuple[float, ...] | tuple[tuple[float, ...], ...]] = field(default_factory=dict)
    scalars: Mapping[str, float] = field(default_factory=dict)


Example: TypeAlias = (
    Text | Chat | PromptCompletion | Preference | Triple | Ranked | Rated | Unpaired | Stepwise | Prompt | Trajectory
)


def prompt_of(example: Example) -> Said:
    """What an answer is generated from: the prompt, or a conversation up to its last assistant turn. RowError: neither."""
    if isinstance(example, Text | Trajectory):
        raise RowError(f"rows of kind '{example.kind}' have no prompt to generate from")
    if not isinstance(example, Chat):
        return example.prompt
    last = max((place for place, message in enumerate(example.messages) if message["role"] == "assistant"), default=None)
    return example.messages[:last]


KINDS: dict[str, type[Example]] = {
    kind.kind: kind
    for kind in (Text, Chat, PromptCompletion, Preference, Triple, Ranked, Rated, Unpaired, Stepwise, Prompt, Trajectory)
}

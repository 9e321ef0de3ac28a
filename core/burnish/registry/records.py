"""Records: what a plugin says it provides, without importing it. Knows only names; `target` is imported on first use.

In: keyword arguments in a plugin's `plugin.py`. Out: frozen values that break no rule, or a `PluginError` that says which one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from burnish.errors import PluginError, did_you_mean
from burnish.registry.kinds import DATA_KINDS

API = 1

REDUCTIONS = ("token_mean", "sequence_mean", "sequence_token_mean", "pair_mean", "list_mean")
"""How the unreduced terms of a loss become one number, unless the config says otherwise; formulas:
`burnish.objective.reduce`."""

MASKS = ("completion", "all", "assistant", "last", "end", "steps", "last_step")
"""Names of target masks; which of them a sequence has depends on the kind of its row (`burnish.data.masks`)."""

TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")
MODEL_NAME = re.compile(r"[a-z][a-z0-9]*([._-][a-z0-9]+)*")


@dataclass(frozen=True, kw_only=True)
class Record:
    """What all records share.

    name: how a config calls it. target: `module:attribute`, imported on first use. summary: one line for lists.
    api: the version of this contract that the plugin was written for.
    """

    word: ClassVar[str]
    name_rule: ClassVar[re.Pattern[str]] = NAME

    name: str
    target: str
    summary: str
    api: int

    def __post_init__(self) -> None:
        self._require(
            self.api == API,
            f"was written for version {self.api!r} of the plugin interface; this burnish speaks version {API}. "
            "Install a release of the plugin, or of burnish, that fits the other",
        )
        self._require(
            isinstance(self.name, str) and self.name_rule.fullmatch(self.name),
            "needs a name of lower-case words joined by '_' or '-', such as 'dpo_norm'",
        )
        self._require_target("target", self.target)
        self._require(
            isinstance(self.summary, str) and self.summary.strip() and "\n" not in self.summary, "needs a summary of one line"
        )

    def _require(self, rule: object, otherwise: str) -> None:
        if not rule:
            raise PluginError(f"{type(self).__name__} {self.name!r} {otherwise}.")

    def _require_target(self, field: str, value: object) -> None:
        self._require(
            isinstance(value, str) and TARGET.fullmatch(value),
            f"needs {field} as 'package.module:attribute', got {value!r}",
        )

    def _require_one_of(self, field: str, value: str, known: tuple[str, ...]) -> None:
        if value not in known:  # finding the nearest is slow, and records are many
            self._require(False, f"has no such {field}: {value!r}. {did_you_mean(str(value), known).rstrip('.')}")


@dataclass(frozen=True, kw_only=True)
class FormatRecord(Record):
    """A format turns raw rows into examples. kind: the canonical kind that it gives. examples: target of a list of raw rows
    that it must recognise and convert; the tests of every format run over them."""

    word: ClassVar[str] = "format"

    kind: str
    examples: str

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_one_of("kind", self.kind, DATA_KINDS)
        self._require_target("examples", self.examples)


@dataclass(frozen=True, kw_only=True)
class LossRecord(Record):
    """A loss is a formula over log-probabilities. data: the kind of example that it couples, or `sequence` when it reads any.
    reduction: how its terms become one number. paper: where the formula comes from (`arXiv:...`), empty for folklore. targets:
    the mask of the tokens that it scores; both unless the config says otherwise."""

    word: ClassVar[str] = "loss"

    data: str
    reduction: str
    paper: str = ""
    targets: str = "completion"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_one_of("data", self.data, ("sequence", *DATA_KINDS))
        self._require_one_of("reduction", self.reduction, REDUCTIONS)
        self._require_one_of("targets", self.targets, MASKS)


@dataclass(frozen=True, kw_only=True)
class WeightRecord(Record):
    """A weight is a detached multiplier of a loss's terms."""

    word: ClassVar[str] = "weight"

    paper: str = ""


@dataclass(frozen=True, kw_only=True)
class AdvantageRecord(Record):
    """An advantage is a pure function of a group's rewards."""

    word: ClassVar[str] = "advantage"

    paper: str = ""


@dataclass(frozen=True, kw_only=True)
class RewardRecord(Record):
    """A reward is `f(prompts, completions, completion_ids, **columns) -> list[float | None]`, or a class whose fields are its
    options and whose instances are such functions. processes: how many of its own it runs in, for one that computes long or
    may hang; 0: in the training process. time_limit: seconds of a call; with processes, for one completion. Both unless the
    config says otherwise."""

    word: ClassVar[str] = "reward"

    processes: int = 0
    time_limit: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.processes >= 0, f"cannot run in {self.processes} processes")
        self._require(self.time_limit is None or self.time_limit > 0, f"cannot take at most {self.time_limit} s")


@dataclass(frozen=True, kw_only=True)
class EnvironmentRecord(Record):
    """An environment is a coroutine that turns a prompt row and a `generate` call into a trajectory."""

    word: ClassVar[str] = "environment"


@dataclass(frozen=True, kw_only=True)
class CurriculumRecord(Record):
    """A curriculum: `target(**options)` gives a function of a row's columns and of how many prompts were used, that says
    whether the row's prompt may be played yet."""

    word: ClassVar[str] = "curriculum"


@dataclass(frozen=True, kw_only=True)
class ParserRecord(Record):
    """A parser of tool calls is `f(text) -> list[ToolCall]`: the calls in what a family of models writes in one turn."""

    word: ClassVar[str] = "parser"


@dataclass(frozen=True, kw_only=True)
class BackendRecord(Record):
    """A backend generates completions and takes new weights."""

    word: ClassVar[str] = "backend"


@dataclass(frozen=True, kw_only=True)
class ModelRecord(Record):
    """A model source. `target()` gives an object whose `weights()` is the local folder of the whole model and whose
    `tokenizer()` is one with tokenizer and config at least; either fetches what it lacks when it is called, not before."""

    word: ClassVar[str] = "model"
    name_rule: ClassVar[re.Pattern[str]] = MODEL_NAME


@dataclass(frozen=True, kw_only=True)
class SourceRecord(Record):
    """A data source: `target(**options)` gives an iterable of raw rows."""

    word: ClassVar[str] = "source"


@dataclass(frozen=True, kw_only=True)
class KernelRecord(Record):
    """A kernel makes a model faster and leaves its numbers as they are: `target(**options)(model)` changes a loaded model in
    place, on the device that it runs on, and raises `ModelError` where it cannot."""

    word: ClassVar[str] = "kernel"


@dataclass(frozen=True, kw_only=True)
class RecipeRecord(Record):
    """A recipe: `target(**options)` gives a fragment of plain config, which the user's own values override."""

    word: ClassVar[str] = "recipe"

    paper: str = ""

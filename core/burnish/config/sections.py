"""The sections of a run's config: what every key means, its type and its default. Knows values, not where they came from.

Everything is plain data, so that a config can be written down, hashed and compared. Types are strict: text is no number, a
truth value is no count. `Names(kind)` marks a field that holds the name of something registered, or a list of {name: options}.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, model_validator

from burnish.registry.records import FormatRecord, LossRecord, ModelRecord, Record, RewardRecord, SourceRecord

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
AboveZero = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Options = dict[str, Any]
T = TypeVar("T")
Many = Annotated[tuple[T, ...], Strict(False)]  # written as a list


@dataclass(frozen=True)
class Names:
    """Marks a field whose values name records of this kind, or code. words: what else it may hold, a word with a meaning of its
    own; with `open`, any other text (a path, a hub id)."""

    kind: type[Record]
    words: tuple[str, ...] = ()
    open: bool = False


class Section(BaseModel):
    """A part of the config: immutable, strict, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=())


def _as_list(value: Any) -> Any:
    """One item stands for a list of it, null for none."""
    if value is None:
        return []
    return [value] if isinstance(value, str | Mapping) else value


def _as_named(value: Any) -> Any:
    """In a list of {name: options}, `name` and {name: null} stand for {name: {}}."""
    if not isinstance(value, list | tuple):
        return value
    items: list[Any] = []
    for item in value:
        if isinstance(item, str):
            item = {item: {}}
        if isinstance(item, Mapping):
            if len(item) != 1:
                raise ValueError(f"each item is one name with its options, such as {{dpo: {{beta: 0.1}}}}, found {dict(item)}")
            item = {name: {} if options is None else options for name, options in item.items()}
        items.append(item)
    return items


Named = Annotated[Many[dict[str, Options]], BeforeValidator(_as_named)]


class LoraSection(Section):
    """A fresh LoRA adapter."""

    r: Positive = 16
    alpha: AboveZero = 32.0
    dropout: Share = 0.0
    targets: str | Many[str] = "all-linear"
    modules_to_save: Many[str] = ()


class AdapterSection(Section):
    """One adapter: made fresh (`lora`) or continued from a folder or hub id (`path`)."""

    name: str = "default"
    lora: LoraSection | None = None
    path: str | None = None
    trainable: bool = True

    @model_validator(mode="after")
    def _one_origin(self) -> AdapterSection:
        if (self.lora is None) == (self.path is None):
            raise ValueError("an adapter has either `lora` (a fresh one) or `path` (one to continue)")
        if self.lora is not None and not self.trainable:
            raise ValueError("a fresh adapter that is not trained changes nothing; give a `path`, or drop `trainable: false`")
        return self


class ModelSection(Section):
    """The policy: what is trained. name: a folder, hub id or registered model. adapter: one or a list, in the order they are
    put on; the last is the active one. chat_template: name of a template for a model that has none."""

    name: Annotated[str | None, Names(ModelRecord, open=True)] = None
    revision: str | None = None
    dtype: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
    quantize: Literal["4bit", "8bit"] | None = None
    trust_remote_code: bool = False
    chat_template: str | None = None
    adapter: Annotated[Many[AdapterSection], BeforeValidator(_as_list)] = ()
    layout: Literal["auto", "tree", "packed", "padded"] = "auto"

    @model_validator(mode="after")
    def _consistent(self) -> ModelSection:
        if self.quantize and not any(adapter.trainable for adapter in self.adapter):
            raise ValueError(f"weights in {self.quantize} cannot be trained themselves; add `adapter: {{lora: {{}}}}`")
        names = [adapter.name for adapter in self.adapter]
        if len(set(names)) < len(names):
            raise ValueError(f"adapters need names of their own, found {', '.join(names)}")
        return self


class ReferenceSection(Section):
    """The frozen model that losses compare with. model: `auto` (the policy before training: its adapter switched off, or a
    copy), `none`, or a folder, hub id or registered model. cache: keep its log-probabilities on disk, by content."""

    model: Annotated[str, BeforeValidator(lambda value: "none" if value is None else value)] = "auto"
    cache: bool = True


class TeacherSection(Section):
    """The model that is distilled from."""

    model: Annotated[str | None, Names(ModelRecord, open=True)] = None


class SourceSection(Section):
    """Where rows come from. source: a file, folder, hub id, registered source or code. columns: what a format expects -> what
    the rows call it. weight: share of the batch. holdout: a fraction of the rows, or a source of its own, kept for evaluation.
    delimiter: between texts or CSV fields. bad_rows: what becomes of rows of another format; dropped ones are counted.
    shuffle_buffer: rows that a streaming source draws from."""

    source: Annotated[str, Names(SourceRecord, open=True)]
    options: Options = {}
    split: str = "train"
    format: Annotated[str, Names(FormatRecord, words=("auto",))] = "auto"
    columns: dict[str, str] = {}
    weight: AboveZero = 1.0
    streaming: bool = False
    limit: Positive | None = None
    holdout: Share | str | None = None
    delimiter: str | None = None
    bad_rows: Literal["error", "drop"] = "error"
    shuffle_buffer: Positive = 1024


class RenderSection(Section):
    """From examples to token ids. max_length: tokens of a sequence; overlength: what becomes of longer ones."""

    max_length: Positive = 1024
    overlength: Literal["drop", "truncate", "error"] = "drop"
    cache: bool = True


class TrainSection(Section):
    """The loop. batch_size: units of a global batch, whatever the number of devices. steps: instead of epochs.
    micro_batch_tokens: tokens forwarded at once. clip: largest gradient norm, null for none."""

    batch_size: Positive = 16
    epochs: AboveZero = 1.0
    steps: Positive | None = None
    micro_batch_tokens: Literal["auto"] | Positive = "auto"
    precision: Literal["float32", "bf16", "pure_bf16", "fp16"] = "float32"
    gradient_checkpointing: bool = False
    clip: AboveZero | None = 1.0
    seed: Count = 0


class OptimizerSection(Section):
    """name: of torch.optim or of transformers' optimisers. options: its further arguments."""

    name: str = "adamw"
    lr: NotNegative = 1e-5
    weight_decay: NotNegative = 0.0
    options: Options = {}


class ScheduleSection(Section):
    """name: of transformers' schedules. warmup: a fraction of the steps below 1, else a number of steps."""

    name: str = "linear"
    warmup: NotNegative = 0.0
    options: Options = {}


class SamplingSection(Section):
    """How completions are drawn. temperature 0 takes the most likely token; top_k 0 keeps all; stop: texts that end one."""

    max_new_tokens: Positive = 64
    temperature: NotNegative = 0.0
    top_k: Count = 0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    min_p: Share = 0.0
    stop: Annotated[Many[str], BeforeValidator(_as_list)] = ()


class EvaluateSection(Section):
    """Evaluation on held-out rows. every: steps between two; rewards: judged on generated completions; patience: evaluations
    without a better `metric` before the run stops."""

    every: Positive | None = None
    at_start: bool = False
    at_end: bool = True
    batch_size: Positive | None = None
    limit: Positive | None = None
    rewards: Annotated[Named, Names(RewardRecord)] = ()
    sampling: SamplingSection = SamplingSection()
    patience: Positive | None = None
    metric: str = "eval/loss"
    greater_is_better: bool = False

    @model_validator(mode="after")
    def _patience_needs_evaluations(self) -> EvaluateSection:
        if self.patience and not self.every:
            raise ValueError("`patience` counts evaluations during training, so `every` must say how often they happen")
        return self


class CheckpointSection(Section):
    """every: steps between two. keep: how many of the last to keep. best: keep the best one too, by `evaluate.metric`."""

    every: Positive | None = None
    keep: Positive = 2
    best: bool = False


class GuardSection(Section):
    """max_skipped: updates in a row that may be skipped because a number in them was not finite."""

    max_skipped: Count = 3


class PluginsSection(Section):
    """disable: plugins that are not even imported."""

    disable: Annotated[Many[str], BeforeValidator(_as_list)] = ()


class Sections(Section):
    """A whole run. objective: losses with their fields and the words that every entry may have; data: sources by name."""

    model: ModelSection = ModelSection()
    reference: ReferenceSection = ReferenceSection()
    teacher: TeacherSection = TeacherSection()
    data: dict[str, SourceSection] = {}
    render: RenderSection = RenderSection()
    objective: Annotated[Named, Names(LossRecord)] = ()
    train: TrainSection = TrainSection()
    optimizer: OptimizerSection = OptimizerSection()
    schedule: ScheduleSection = ScheduleSection()
    evaluate: EvaluateSection = EvaluateSection()
    checkpoint: CheckpointSection = CheckpointSection()
    guard: GuardSection = GuardSection()
    track: Annotated[Many[Literal["tensorboard", "wandb", "trackio", "mlflow"]], BeforeValidator(_as_list)] = ()
    output: str = "runs/run"
    plugins: PluginsSection = PluginsSection()

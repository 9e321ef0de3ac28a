"""The sections of a run's config: what every key means, its type and its default. Knows values, not where they came from.

Everything is plain data, so that a config can be written down, hashed and compared. The texts below the keys are what editors
show (`burnish config schema`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from burnish.config.fields import (
    AboveZero,
    Count,
    Many,
    NamedOption,
    NamedOptions,
    Names,
    NotNegative,
    OneOrMany,
    Options,
    Positive,
    Section,
    Share,
)
from burnish.registry.records import (
    AdvantageRecord,
    BackendRecord,
    CurriculumRecord,
    EnvironmentRecord,
    FormatRecord,
    KernelRecord,
    LossRecord,
    ModelRecord,
    RewardRecord,
    SourceRecord,
)

ENTRY_WORDS = ("on", "targets", "source", "weight", "weights", "reduction", "name")
"""What every entry of an objective may hold beside the fields of its loss; no loss has a field of such a name."""


class LoraSection(Section):
    """A fresh LoRA adapter."""

    r: Positive = 16
    """Rank."""
    alpha: AboveZero = 32.0
    """The adapter's output is scaled by alpha / r."""
    dropout: Share = 0.0
    """Above 0 the packed layout is used: a shared prefix would share its dropout."""
    targets: str | Many[str] = "all-linear"
    """Modules that get an adapter: `all-linear`, a regular expression, or names."""
    modules_to_save: Many[str] = ()
    """Modules that are trained in full beside the adapter."""


class AdapterSection(Section):
    """One adapter: a fresh one (`lora`), or one that is continued (`path`)."""

    name: str = "default"
    lora: LoraSection | None = None
    path: str | None = None
    """Folder or hub id of a saved adapter."""
    trainable: bool = True

    @model_validator(mode="after")
    def _one_origin(self) -> AdapterSection:
        if (self.lora is None) == (self.path is None):
            raise ValueError("an adapter has either `lora` (a fresh one) or `path` (one to continue)")
        if self.lora is not None and not self.trainable:
            raise ValueError("a fresh adapter that is not trained changes nothing; give a `path`, or drop `trainable: false`")
        return self


class ModelSection(Section):
    """The policy: what is trained."""

    name: Annotated[str | None, Names(ModelRecord, open=True)] = None
    """A folder, a hub id, or a registered model."""
    revision: str | None = None
    """Of the hub: a branch, tag or commit."""
    dtype: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
    """Of the weights that are loaded."""
    quantize: Literal["4bit", "8bit"] | None = None
    """Load the weights quantised (bitsandbytes); an adapter is trained on them."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model."""
    chat_template: str | None = None
    """A named template (chatml, llama3, mistral, alpaca, ...) for a model that has none."""
    adapter: Annotated[Many[AdapterSection], OneOrMany()] = ()
    """One adapter or a list, in the order they are put on; the last is the active one. None: all weights are trained."""
    head: Literal["auto", "language", "sequence", "token"] = "auto"
    """What the model gives: the next token, one score of a sequence, or two labels of a token; `auto` is what the objective
    reads. A language model gets a fresh head where another is needed."""
    kernels: Annotated[NamedOptions[Options], Names(KernelRecord)] = ()
    """Parts of the model that are replaced by faster ones with the same numbers: names, with their options."""
    layout: Literal["auto", "tree", "packed", "padded"] = "auto"
    """How sequences share a forward pass; `auto` is `tree` where the model passes the check at load."""

    @model_validator(mode="after")
    def _consistent(self) -> ModelSection:
        if self.quantize and not any(adapter.trainable for adapter in self.adapter):
            raise ValueError(f"weights in {self.quantize} cannot be trained themselves; add `adapter: {{lora: {{}}}}`")
        names = [adapter.name for adapter in self.adapter]
        if len(set(names)) < len(names):
            raise ValueError(f"adapters need names of their own, found {', '.join(names)}")
        return self


def _none(value: object) -> object:
    return "none" if value is None else value


class MixSection(Section):
    """reference <- (1 - alpha) reference + alpha policy (TR-DPO)."""

    alpha: Annotated[float, Field(gt=0, le=1)] = 0.6
    """1 makes the reference the policy."""
    every: Positive = 512
    """Steps between two updates."""


class EmaSection(Section):
    """reference <- decay reference + (1 - decay) policy: an exponential moving average."""

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """What stays of the reference at an update."""
    every: Positive = 1
    """Steps between two updates."""


class BemaSection(Section):
    """An exponential moving average and a part of the way that the policy has come, both less with time (BEMA)."""

    every: Positive = 400
    """Steps between two updates."""
    after: Count = 0
    """Steps before the average begins."""
    ema_power: NotNegative = 0.5
    """A new policy's share in the average is (lag + multiplier steps) to minus this power."""
    bias_power: NotNegative = 0.2
    """The share of the way since the average began, added to it, likewise."""
    lag: AboveZero = 10.0
    multiplier: NotNegative = 1.0


class SyncSection(Section):
    """How the reference follows the policy: one of these. With an adapter its factors are averaged, on the same base."""

    mix: MixSection | None = None
    ema: EmaSection | None = None
    bema: BemaSection | None = None

    @model_validator(mode="after")
    def _one_way(self) -> SyncSection:
        if sum(way is not None for way in (self.mix, self.ema, self.bema)) != 1:
            raise ValueError("one of `mix`, `ema` and `bema`, such as `sync: {mix: {alpha: 0.6, every: 512}}`")
        return self


class ReferenceSection(Section):
    """The frozen model that losses compare the policy with."""

    model: Annotated[str, BeforeValidator(_none), Names(ModelRecord, words=("auto", "none"), open=True)] = "auto"
    """`auto` (the policy before training: its adapter switched off, or a copy), `none`, or a folder, hub id or registered
    model."""
    cache: bool = True
    """Keep its log-probabilities on disk, by content; shared by runs. Not those of a reference that moves (`sync`)."""
    sync: SyncSection | None = None
    """Let the reference follow the policy, instead of staying what the policy was before training."""

    @model_validator(mode="after")
    def _what_follows(self) -> ReferenceSection:
        if self.sync is not None and self.model != "auto":
            raise ValueError(f"`sync` moves a copy of the policy, not the model '{self.model}'; drop one of the two")
        return self


class TeacherSection(Section):
    """The model that is distilled from."""

    model: Annotated[str | None, Names(ModelRecord, open=True)] = None
    """A folder, a hub id, or a registered model."""


class ValueSection(Section):
    """What says how much is still to be earned, for losses and advantages that read values."""

    model: Annotated[str, Names(ModelRecord, words=("shared", "copy"), open=True)] = "shared"
    """`shared`: a head on the policy's own layers. A critic with layers of its own: `copy`, which begins as the policy, or a
    folder, hub id or registered model, such as a reward model."""


class SourceSection(Section):
    """Where rows come from."""

    source: Annotated[str, Names(SourceRecord, open=True)]
    """A file, folder, hub id, registered source, or code."""
    options: Options = Field(default_factory=dict)
    """Options of a registered source, or of the hub's loader."""
    split: str = "train"
    format: Annotated[str, Names(FormatRecord, words=("auto",))] = "auto"
    """How rows become examples; `auto` finds out from many rows."""
    columns: dict[str, str] = Field(default_factory=dict)
    """What the format expects -> what the rows call it."""
    pairing: Literal["all", "best_worst", "undo"] | None = None
    """Make preference rows of ranked, rated or marked answers to one prompt (`all`: every better with every worse one;
    `best_worst`), or take pairs apart into marked answers (`undo`)."""
    weight: AboveZero = 1.0
    """Share of every batch, relative to the other sources."""
    environment: Annotated[NamedOption | None, Names(EnvironmentRecord)] = None
    """What prompts of this source are played in, where `rollout.sources` has it; null for `rollout.environment`."""
    streaming: bool = False
    """Read while training, instead of before."""
    limit: Positive | None = None
    """Rows to read at most."""
    holdout: Share | str | None = None
    """Rows for evaluation: a fraction of these rows, or another file, folder or hub id."""
    delimiter: str | None = None
    """Between texts of a text file, or fields of a CSV file."""
    bad_rows: Literal["error", "drop"] = "error"
    """What becomes of rows of another format; dropped ones are counted."""
    shuffle_buffer: Positive = 1024
    """Rows that a streaming source draws from."""


class RenderSection(Section):
    """From examples to token ids."""

    max_length: Positive = 1024
    """Tokens of a sequence at most."""
    overlength: Literal["drop", "truncate", "error"] = "drop"
    """What becomes of longer ones; dropped ones are counted."""
    step_separator: Annotated[str, Field(min_length=1)] = "\n"
    """Follows each step of a stepwise row; a step is judged at the last token of it."""
    cache: bool = True
    """Keep tokenised rows on disk, by content."""


class TrainSection(Section):
    """The loop."""

    batch_size: Positive = 16
    """Units (rows, pairs) of a global batch, whatever the number of devices."""
    epochs: AboveZero = 1.0
    steps: Positive | None = None
    """Optimiser steps, instead of epochs."""
    micro_batch_tokens: Literal["auto"] | Positive = "auto"
    """Tokens that are forwarded at once."""
    precision: Literal["float32", "bf16", "pure_bf16", "fp16"] = "float32"
    """bf16 and fp16 are autocast over float32 weights (fp16 with loss scaling); pure_bf16 trains bfloat16 weights."""
    gradient_checkpointing: bool | Literal["selective"] = False
    """Compute activations again in the backward pass instead of keeping them: all within a layer, or (`selective`) all but the
    results of matrix products and attention, which is faster and takes more memory."""
    offload_activations: bool = False
    """Keep the activations that wait for the backward pass in the host's memory, not on the GPU."""
    clip: AboveZero | None = 1.0
    """Largest norm of the gradient; null for no limit."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class OptimizerSection(Section):
    """The optimiser."""

    name: str = "adamw"
    """Of torch.optim, or of transformers' optimisers."""
    lr: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-5
    weight_decay: NotNegative = 0.0
    options: Options = Field(default_factory=dict)
    """Its further arguments."""
    rounding: Literal["nearest", "kahan", "stochastic"] = "nearest"
    """How bfloat16 weights (`train.precision: pure_bf16`) take an update smaller than they can hold: `nearest` loses it,
    `kahan` keeps the rest beside the weight, `stochastic` rounds up or down by chance, right on average."""
    offload: bool = False
    """Keep the optimiser's state in the host's memory between steps; slower, and 8 bytes a weight less on the GPU."""


class ScheduleSection(Section):
    """The learning rate over time."""

    name: str = "linear"
    """Of transformers' schedules."""
    warmup: NotNegative = 0.0
    """Below 1 a fraction of the steps, else a number of steps."""
    options: Options = Field(default_factory=dict)
    """Its further arguments."""


class SamplingSection(Section):
    """How completions are drawn."""

    max_new_tokens: Positive = 64
    temperature: NotNegative = 0.0
    """0 takes the most likely token."""
    top_k: Count = 0
    """Draw from the k most likely tokens; 0 for all."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Draw from the most likely tokens whose probabilities reach p."""
    min_p: Share = 0.0
    """Draw from tokens at least this probable, relative to the most likely one."""
    repetition_penalty: AboveZero = 1.0
    """Above 1, tokens that the prompt or the completion has become less likely, below 1 more likely."""
    stop: Annotated[Many[str], OneOrMany()] = ()
    """Texts that end a completion."""


class RewardSection(Section):
    """How a reward is used."""

    weight: float = 1.0
    """Its share in the sum of rewards."""
    options: Options = Field(default_factory=dict)
    """Its options."""
    time_limit: AboveZero | None = None
    """Seconds that a call may take, with `processes` one completion; null for what the reward itself says, else no limit."""
    processes: Count | None = None
    """How many of its own it runs in, one completion at a time each; they are killed when they take too long. 0 for the
    training process, null for what the reward itself says."""
    cache: bool = False
    """Keep its numbers on disk, by content; shared by runs. For rewards that always say the same of the same completion."""


class DrawnSection(SamplingSection):
    """How completions are drawn that are trained on; log-probabilities are read at the same temperature."""

    max_new_tokens: Positive = 256
    temperature: AboveZero = 1.0


class MixedSection(DrawnSection):
    """How opponents are drawn; made of the settings of a rollout, never written in a config."""

    mixture: Share
    """The reference's share."""


class ReportedSection(DrawnSection):
    """How completions are drawn of which more is reported than what was drawn; made of the settings of a rollout, as a loss
    asks for it, never written in a config."""

    likeliest: Positive
    """How many of the likeliest tokens are reported with each one that is drawn."""


class ReceiptsSection(Section):
    """How a backend with weights of its own proves that it draws from the trained ones."""

    handshake: bool = True
    """At the start, send perturbed weights, then the true ones, and see the backend's log-probabilities follow."""
    warn: AboveZero = 0.1
    """Nats a token between the log-probabilities of backend and trainer, after any update, from which a warning is given."""
    stop: AboveZero = 0.5
    """And from which the run stops."""


class RetriesSection(Section):
    """How often an episode is begun again."""

    timeout: Count = 0
    """After it took longer than `time_limit`."""
    environment_error: Count = 0
    """After its environment raised."""
    infrastructure_error: Count = 2
    """After something that it needs could not be reached."""


class KLInRewardSection(Section):
    """A penalty in the reward for every token that the reference would have drawn less often."""

    beta: NotNegative = 0.05
    """Reward that is lost for a nat of divergence."""
    estimator: Literal["k1", "k3"] = "k1"
    """Of a token's divergence, d = lp - lr: `k1` is d, `k3` is e^-d - 1 + d, never below 0."""


class OpponentsSection(Section):
    """Completions beside each group, drawn from a geometric mixture of policy and reference, for methods that compare."""

    count: Positive = 1
    """How many for each prompt."""
    mixture: Share = 0.5
    """The reference's share in the mixture of log-probabilities: 1 draws from the reference, 0 from the policy."""


class SamplesSection(Section):
    """Completions for people to read."""

    show: Count = 0
    """How many of a rollout batch are shown in a table, those of the first groups."""
    keep: bool = False
    """Write all of them as text, with their rewards, to RUN/samples, one Parquet file for each rollout batch."""
    every: Positive = 1
    """Rollout batches from one that is shown or kept to the next."""


class MismatchSection(Section):
    """The difference between the log-probabilities of trainer and sampler for the tokens that are trained on, in nats."""

    warn: AboveZero | None = 0.1
    """Its mean over a step batch from which an alarm is sounded."""
    correct: AboveZero | None = None
    """A token's own difference from which its terms are multiplied by the ratio of both, at most 3. Beside `is_correction`,
    which does so for all tokens, it is not needed."""
    stop: AboveZero | None = None
    """Its mean from which the run stops, before the update."""


def _unset(name: str) -> dict[str, Options]:
    return {name: {}}


class RolloutSection(Section):
    """Completions that the model writes while it is trained, and how they are judged."""

    sources: Annotated[Many[str], OneOrMany()] = ("main",)
    """Data sources whose rows are prompts to be answered; the others are read as ever, beside them."""
    prompts: Positive = 8
    """Prompts of a rollout batch."""
    group_size: Positive = 8
    """Completions of each prompt."""
    epochs: Positive = 1
    """Passes over a rollout batch, in step batches of `train.batch_size` completions."""
    sampling: DrawnSection = DrawnSection()
    rewards: Annotated[NamedOptions[RewardSection], Names(RewardRecord)] = ()
    """What the completions are worth."""
    on_reward_error: Literal["stop", "drop"] = "stop"
    """What happens when a reward raises, takes too long or gives no number: the run stops, with a checkpoint; or the completion
    is left out and counted, its traceback in the journal."""
    advantage: Annotated[NamedOption, Names(AdvantageRecord)] = Field(default_factory=partial(_unset, "group"))
    """How rewards become advantages: one name, with its options."""
    environment: Annotated[NamedOption, Names(EnvironmentRecord)] = Field(default_factory=partial(_unset, "single_turn"))
    """What the model acts in: one name, with its options."""
    backend: Annotated[NamedOption, Names(BackendRecord)] = Field(default_factory=partial(_unset, "hf"))
    """What draws the completions: one name, with its options."""
    receipts: ReceiptsSection = ReceiptsSection()
    mismatch: MismatchSection = MismatchSection()
    kl_in_reward: KLInRewardSection | None = None
    """Take the divergence from the reference out of the reward: per token for advantages of tokens, summed for others."""
    pairs: Literal["best_worst", "all", "opponents"] | None = None
    """Train on preference pairs of a group's completions, for losses such as `dpo`: the best with the worst, each with every
    worse one, or each with an opponent. Equal rewards make no pair. null trains on completions."""
    opponents: OpponentsSection | None = None
    """Completions to compare with, drawn beside each group; only some methods need them."""
    samples: SamplesSection = SamplesSection()
    keep: Positive | None = None
    """How many rollout batches stay in the journal, the newest; null for all. What a kept checkpoint goes on from stays too."""
    time_limit: AboveZero | None = None
    """Seconds of an episode; one that takes longer is left out."""
    retries: RetriesSection = RetriesSection()
    """How often an episode that failed is begun again, by how it failed; then it is left out, and counted."""
    episodes: Positive | None = None
    """Episodes that are played at once at most; null for all of a rollout batch."""
    filter: bool = False
    """Leave out groups whose rewards are all equal, and ask for more prompts in their place (dynamic sampling)."""
    max_refills: Count = 4
    """With `filter`: prompts that are asked for beside the first ones at most, in multiples of `prompts`."""
    curriculum: Annotated[NamedOption | None, Names(CurriculumRecord)] = None
    """Which prompts may be played yet: one name, with its options; null lets all be played as they come."""
    oversample: Count = 0
    """Prompts that are played beside `prompts`: a rollout batch is made of those whose answers are ready first. The others are
    played again with the next one, or go on where that keeps to `max_staleness`."""
    max_staleness: Count = 0
    """Versions (optimiser steps) that a token may be behind the weights when training on its rollout batch begins. 0:
    everything is drawn by the very weights. More: the backend draws while the model is trained."""

    @model_validator(mode="after")
    def _filter_needs_groups(self) -> RolloutSection:
        if self.filter and self.group_size == 1:
            raise ValueError("`filter` compares the answers to one prompt, so `group_size` must be more than 1")
        if self.pairs in ("best_worst", "all") and self.group_size == 1:
            raise ValueError(f"`pairs: {self.pairs}` compares the answers to one prompt, so `group_size` must be more than 1")
        if self.pairs == "opponents" and self.opponents is None:
            raise ValueError("`pairs: opponents` needs them: write `opponents: {mixture: 1.0}` for answers of the reference")
        return self


class EvaluateSection(Section):
    """Evaluation on held-out rows."""

    every: Positive | None = None
    """Steps between two evaluations."""
    at_start: bool = False
    at_end: bool = True
    limit: Positive | None = None
    """Held-out rows to use at most, of each source."""
    rewards: Annotated[NamedOptions[RewardSection], Names(RewardRecord)] = ()
    """Rewards of what the model writes for the held-out prompts."""
    sampling: SamplingSection = SamplingSection()
    """How held-out prompts are answered. In an online run `max_new_tokens` is that of the rollouts unless it stands here."""
    patience: Positive | None = None
    """Stop after so many evaluations without a better `metric`."""
    metric: str = "eval/loss"
    """What `patience` and `checkpoint.best` compare."""
    greater_is_better: bool = False

    @model_validator(mode="after")
    def _patience_needs_evaluations(self) -> EvaluateSection:
        if self.patience and not self.every:
            raise ValueError("`patience` counts evaluations during training, so `every` must say how often they happen")
        return self


class CheckpointSection(Section):
    """What is kept to continue from."""

    every: Positive | None = 500
    """Steps between two checkpoints; null for none. A run of fewer steps ends with its model alone."""
    keep: Positive = 2
    """How many of the last are kept."""
    best: bool = False
    """Keep the best one too, by `evaluate.metric`."""


class GuardSection(Section):
    """What happens to broken updates."""

    max_skipped: Count = 3
    """Updates in a row, skipped because a number in them was not finite, at which the run stops."""


class PluginsSection(Section):
    """Which plugins are used."""

    disable: Annotated[Many[str], OneOrMany()] = ()
    """Plugins that are not even imported."""


class Sections(Section):
    """A whole run."""

    model: ModelSection = ModelSection()
    reference: ReferenceSection = ReferenceSection()
    teacher: TeacherSection = TeacherSection()
    value: ValueSection = ValueSection()
    data: dict[str, SourceSection] = Field(default_factory=dict)
    """Sources of rows, by a name of your choice; losses read `main` unless they say another."""
    render: RenderSection = RenderSection()
    rollout: RolloutSection | None = None
    """Train on what the model itself writes; null trains on the rows as they are."""
    objective: Annotated[NamedOptions[Options], Names(LossRecord)] = ()
    """What is minimised: losses with their fields, and the words that every entry may have."""
    train: TrainSection = TrainSection()
    optimizer: OptimizerSection = OptimizerSection()
    schedule: ScheduleSection = ScheduleSection()
    evaluate: EvaluateSection = EvaluateSection()
    checkpoint: CheckpointSection = CheckpointSection()
    guard: GuardSection = GuardSection()
    track: Annotated[Many[Literal["tensorboard", "wandb", "trackio", "mlflow"]], OneOrMany()] = ()
    """Trackers that get the metrics, beside metrics.jsonl."""
    output: str = "runs/run"
    """Folder of the run; by default runs/ and the name of the config file. One that exists is refused."""
    plugins: PluginsSection = PluginsSection()

    @model_validator(mode="before")
    @classmethod
    def _answers_as_long_as_rollouts(cls, values: Any) -> Any:
        """An evaluation that cuts answers earlier than training does would measure something else."""
        if not isinstance(values, Mapping) or values.get("rollout") is None:
            return values
        rollout, evaluate = values["rollout"], values.get("evaluate", {})
        drawn, sampling = (one.get("sampling", {}) if isinstance(one, Mapping) else None for one in (rollout, evaluate))
        if not isinstance(drawn, Mapping) or not isinstance(sampling, Mapping) or "max_new_tokens" in sampling:
            return values
        longest = drawn.get("max_new_tokens", DrawnSection().max_new_tokens)
        if not isinstance(longest, int):  # it is refused where it stands
            return values
        return {**values, "evaluate": {**evaluate, "sampling": {**sampling, "max_new_tokens": longest}}}

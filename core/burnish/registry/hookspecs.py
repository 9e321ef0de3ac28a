"""The hooks that a plugin may implement, each with a complete example. A plugin's `plugin.py` imports no torch.

In: nothing, or the run that is observed. Out: records, or what the observer asks of the engine. Hooks are synchronous and have
no defaults. docs/extend/hooks.md shows the same examples; a test compares the two and runs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import pluggy

from burnish.registry import records as r

if TYPE_CHECKING:
    from burnish.registry.records import Record

PROJECT = "burnish"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

RECORD_HOOKS: dict[str, type[Record]] = {
    "burnish_formats": r.FormatRecord,
    "burnish_losses": r.LossRecord,
    "burnish_weights": r.WeightRecord,
    "burnish_advantages": r.AdvantageRecord,
    "burnish_rewards": r.RewardRecord,
    "burnish_environments": r.EnvironmentRecord,
    "burnish_curricula": r.CurriculumRecord,
    "burnish_parsers": r.ParserRecord,
    "burnish_backends": r.BackendRecord,
    "burnish_models": r.ModelRecord,
    "burnish_sources": r.SourceRecord,
    "burnish_kernels": r.KernelRecord,
    "burnish_recipes": r.RecipeRecord,
}
"""Which kind of record each hook returns."""

Request = Literal["stop", "save", "evaluate"]
"""What an observer may ask for by returning it."""


@hookspec
def burnish_formats() -> Sequence[r.FormatRecord]:  # type: ignore[empty-body]
    """Formats: how raw rows become examples.

    The target is an object, or a class made without arguments, with `sniff(row)` and `convert(row)`.

        from burnish import FormatRecord, hookimpl

        @hookimpl
        def burnish_formats():
            return [
                FormatRecord(
                    name="alpaca",
                    target="burnish_alpaca.format:Alpaca",
                    examples="burnish_alpaca.format:EXAMPLES",
                    kind="prompt_completion",
                    summary="instruction, input, output",
                    api=1,
                )
            ]
    """


@hookspec
def burnish_losses() -> Sequence[r.LossRecord]:  # type: ignore[empty-body]
    """Losses: formulas over the log-probabilities of scored tokens.

    The target is a frozen dataclass: its fields are the options, `signals()` says what it reads, `__call__` is the formula.

        from burnish import LossRecord, hookimpl

        @hookimpl
        def burnish_losses():
            return [
                LossRecord(
                    name="ipo",
                    target="burnish_ipo.loss:IPO",
                    summary="squared distance of the mean log-ratio gap from 1 / (2 beta)",
                    paper="arXiv:2310.12036",
                    data="preference",
                    reduction="pair_mean",
                    api=1,
                )
            ]
    """


@hookspec
def burnish_weights() -> Sequence[r.WeightRecord]:  # type: ignore[empty-body]
    """Weights: detached multipliers of a loss's terms, composed with any loss in the config.

        from burnish import WeightRecord, hookimpl

        @hookimpl
        def burnish_weights():
            return [
                WeightRecord(
                    name="wpo",
                    target="burnish_wpo.weight:WPO",
                    summary="how likely the policy itself is to write this answer",
                    paper="arXiv:2406.11827",
                    api=1,
                )
            ]
    """


@hookspec
def burnish_advantages() -> Sequence[r.AdvantageRecord]:  # type: ignore[empty-body]
    """Advantages: pure functions from the rewards of a group to per-sequence or per-token advantages.

        from burnish import AdvantageRecord, hookimpl

        @hookimpl
        def burnish_advantages():
            return [
                AdvantageRecord(
                    name="rloo",
                    target="burnish_rloo.advantage:LeaveOneOut",
                    summary="reward minus the mean of the group's other rewards",
                    paper="arXiv:2402.14740",
                    api=1,
                )
            ]
    """


@hookspec
def burnish_rewards() -> Sequence[r.RewardRecord]:  # type: ignore[empty-body]
    """Rewards: functions from completions to numbers.

    The target is `f(prompts, completions, completion_ids, **columns) -> list[float | None]`, sync or async, or a class whose
    fields are options and whose instances are such functions.

        from burnish import RewardRecord, hookimpl

        @hookimpl
        def burnish_rewards():
            return [
                RewardRecord(
                    name="exact-match",
                    target="burnish_exact.reward:exact_match",
                    summary="1 where the completion is the row's answer",
                    api=1,
                )
            ]
    """


@hookspec
def burnish_environments() -> Sequence[r.EnvironmentRecord]:  # type: ignore[empty-body]
    """Environments: coroutines that play a prompt row to its end and give a trajectory.

        from burnish import EnvironmentRecord, hookimpl

        @hookimpl
        def burnish_environments():
            return [
                EnvironmentRecord(
                    name="calculator",
                    target="burnish_calculator.environment:Calculator",
                    summary="several turns with a calculator as tool",
                    api=1,
                )
            ]
    """


@hookspec
def burnish_curricula() -> Sequence[r.CurriculumRecord]:  # type: ignore[empty-body]
    """Curricula: which prompts may be played yet. The target gives a function of a row and of how many prompts were used.

        from burnish import CurriculumRecord, hookimpl

        @hookimpl
        def burnish_curricula():
            return [
                CurriculumRecord(
                    name="shortest_first",
                    target="burnish_shortest.curriculum:ShortestFirst",
                    summary="short questions first",
                    api=1,
                )
            ]
    """


@hookspec
def burnish_parsers() -> Sequence[r.ParserRecord]:  # type: ignore[empty-body]
    """Parsers: how a family of models writes the calls of its tools. The target is `f(text) -> list[ToolCall]`.

        from burnish import ParserRecord, hookimpl

        @hookimpl
        def burnish_parsers():
            return [
                ParserRecord(
                    name="gemma",
                    target="burnish_gemma.parser:gemma",
                    summary="calls as Gemma writes them",
                    api=1,
                )
            ]
    """


@hookspec
def burnish_backends() -> Sequence[r.BackendRecord]:  # type: ignore[empty-body]
    """Backends: what generates completions and takes new weights.

        from burnish import BackendRecord, hookimpl

        @hookimpl
        def burnish_backends():
            return [
                BackendRecord(
                    name="vllm",
                    target="burnish_vllm.backend:VLLMBackend",
                    summary="a vLLM server in another environment",
                    api=1,
                )
            ]
    """


@hookspec
def burnish_models() -> Sequence[r.ModelRecord]:  # type: ignore[empty-body]
    """Models: names that stand for weights.

    The target, called without arguments, gives an object with `weights()`, the local folder of the whole model, and
    `tokenizer()`, a folder with tokenizer and config at least. Each fetches what it lacks when it is called: `plan` never asks
    for weights.

        from burnish import ModelRecord, hookimpl

        @hookimpl
        def burnish_models():
            return [
                ModelRecord(
                    name="smollm2-135m-instruct",
                    target="burnish_smollm2.source:SmolLM2",
                    summary="SmolLM2 135M Instruct, from the hub or from a wheel",
                    api=1,
                )
            ]
    """


@hookspec
def burnish_sources() -> Sequence[r.SourceRecord]:  # type: ignore[empty-body]
    """Sources: where raw rows come from when not from a file. The target, called with the options, gives an iterable of rows.

        from burnish import SourceRecord, hookimpl

        @hookimpl
        def burnish_sources():
            return [
                SourceRecord(
                    name="reasoning-gym",
                    target="burnish_reasoning_gym.source:ReasoningGym",
                    summary="generated tasks with checkable answers",
                    api=1,
                )
            ]
    """


@hookspec
def burnish_kernels() -> Sequence[r.KernelRecord]:  # type: ignore[empty-body]
    """Kernels: the same numbers, faster on some hardware. `target(**options)(model)` changes a loaded model in place.

        from burnish import KernelRecord, hookimpl

        @hookimpl
        def burnish_kernels():
            return [
                KernelRecord(
                    name="compile",
                    target="burnish_compile.kernel:Compile",
                    summary="torch.compile of every block",
                    api=1,
                )
            ]
    """


@hookspec
def burnish_recipes() -> Sequence[r.RecipeRecord]:  # type: ignore[empty-body]
    """Recipes: names for a fragment of plain config. The target, called with the options, gives the fragment.

        from burnish import RecipeRecord, hookimpl

        @hookimpl
        def burnish_recipes():
            return [
                RecipeRecord(
                    name="rpo",
                    target="burnish_rpo.recipe:rpo",
                    summary="dpo and sft on the chosen answer",
                    paper="arXiv:2404.19733",
                    api=1,
                )
            ]
    """


@hookspec
def burnish_run_started(run: Any) -> Request | None:
    """Observe the start of a run, after everything is loaded and before the first step.

        from burnish import hookimpl

        @hookimpl
        def burnish_run_started(run):
            print(f"the run writes to {run.path}")
    """


@hookspec
def burnish_step_finished(run: Any, step: Any) -> Request | None:
    """Observe an optimiser step; `step.metrics` is the line of metrics.jsonl. May ask for `stop`, `save` or `evaluate`.

        from burnish import hookimpl

        @hookimpl
        def burnish_step_finished(run, step):
            return "stop" if step.metrics["loss"] < 0.01 else None
    """


@hookspec
def burnish_run_finished(run: Any) -> None:
    """Observe the end of a run, after the model was written.

        from burnish import hookimpl

        @hookimpl
        def burnish_run_finished(run):
            print(f"finished: {run.path}")
    """


@hookspec
def burnish_run_stopped(run: Any, error: BaseException) -> None:
    """Observe a run that ends before its time, after saving: `error` is what was raised, an `Interrupted` for Ctrl-C.

        from burnish import hookimpl

        @hookimpl
        def burnish_run_stopped(run, error):
            print(f"{run.path} stopped after step {run.state.step}: {error!r}")
    """

"""The core's own plugin: what burnish brings itself, through the same hooks as everybody else."""

from __future__ import annotations

from burnish.registry.hookspecs import hookimpl
from burnish.registry.records import (
    BackendRecord,
    CurriculumRecord,
    EnvironmentRecord,
    FormatRecord,
    ParserRecord,
    SourceRecord,
)

_FORMATS = {
    "text": ("text", "text"),
    "chat": ("chat", "messages"),
    "prompt": ("prompt", "prompt, and columns for rewards"),
    "prompt_completion": ("prompt_completion", "prompt, completion"),
    "preference": ("preference", "prompt, chosen, rejected"),
    "preference_implicit": ("preference", "chosen, rejected, which begin with the prompt"),
    "triple": ("triple", "prompt, chosen, rejected, reference"),
    "triple_implicit": ("triple", "chosen, rejected, reference, which begin with the prompt"),
    "ranked": ("ranked", "prompt, completions, best first"),
    "rated": ("rated", "prompt, completion, rating"),
    "unpaired": ("unpaired", "prompt, completion, label"),
    "unpaired_chat": ("unpaired", "messages, label"),
    "stepwise": ("stepwise", "prompt, completions, labels"),
    "trajectory": ("trajectory", "prompt_ids, completion_ids, and numbers per token"),
}


@hookimpl
def burnish_formats() -> list[FormatRecord]:
    """TRL's columns, standard and conversational."""
    return [
        FormatRecord(
            name=name,
            target=f"burnish.data.formats.builtin:{name}",
            examples=f"burnish.data.formats.rows:{name.upper()}",
            kind=kind,
            summary=f"columns {columns}",
            api=1,
        )
        for name, (kind, columns) in _FORMATS.items()
    ]


@hookimpl
def burnish_sources() -> list[SourceRecord]:
    """What runs have drawn."""
    return [
        SourceRecord(name="replay", target="burnish.rollout.buffer:Replay", summary="trajectories of a run's journal", api=1)
    ]


@hookimpl
def burnish_curricula() -> list[CurriculumRecord]:
    """By a number of the rows."""
    return [
        CurriculumRecord(
            name="rising", target="burnish.rollout.curriculum:Rising", summary="prompts by a rising number in a column", api=1
        )
    ]


@hookimpl
def burnish_environments() -> list[EnvironmentRecord]:
    """One prompt, one completion; and conversations with tools."""
    return [
        EnvironmentRecord(
            name="single_turn", target="burnish.rollout.single_turn:SingleTurn", summary="one prompt, one completion", api=1
        ),
        EnvironmentRecord(
            name="tools",
            target="burnish.rollout.environments.tools:Tools",
            summary="python functions that the policy calls before it answers",
            api=1,
        ),
    ]


@hookimpl
def burnish_parsers() -> list[ParserRecord]:
    """Calls of tools in the forms that most models write."""
    summaries = {
        "calls:hermes": "<tool_call>{json}</tool_call>: Hermes, Qwen, SmolLM",
        "calls:llama3": "a JSON object alone: Llama 3",
        "calls:mistral": "[TOOL_CALLS] and JSON: Mistral",
        "tagged_calls:qwen3_coder": "<function=name><parameter=key>: Qwen3-Coder, Qwen3.5, Nemotron 3",
        "tagged_calls:glm": "<tool_call>name<arg_key><arg_value>: GLM 4.5 and later",
        "tagged_calls:minimax": "<invoke name=...><parameter name=...>: MiniMax M2, DeepSeek V3.2",
        "marked_calls:deepseek": "<｜tool▁call▁begin｜>name<｜tool▁sep｜>{json}: DeepSeek V3, R1, V3.1",
        "marked_calls:kimi": "<|tool_call_begin|>functions.name:0<|tool_call_argument_begin|>{json}: Kimi K2",
        "marked_calls:harmony": "to=functions.name ...<|message|>{json}<|call|>: gpt-oss",
        "marked_calls:pythonic": "[name(key=value), ...]: LFM2, Llama 4",
    }
    return [
        ParserRecord(
            name=where.partition(":")[2], target=f"burnish.rollout.environments.{where}", summary=summary, api=1
        )
        for where, summary in summaries.items()
    ]


@hookimpl
def burnish_backends() -> list[BackendRecord]:
    """Sampling in the training process."""
    return [
        BackendRecord(
            name="hf", target="burnish.rollout.local:LocalBackend", summary="in process, with the weights being trained", api=1
        ),
        BackendRecord(
            name="hf_copy", target="burnish.rollout.copied:CopiedBackend", summary="in process, with a copy of the model", api=1
        ),
    ]

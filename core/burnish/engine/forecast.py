"""What a run will do and need, told before it starts: steps, tokens, memory, and why a feature is off.

In: a checked config and the registry. Out: a `Forecast`. Reads no weights file and runs no code that a config names; measures
what it can: tokens by planning real batches, memory by rehearsing the largest micro-batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from burnish.batch.layout import Kind
from burnish.batch.plan import plan
from burnish.batch.trie import num_unique_tokens
from burnish.config import Config, custom_values
from burnish.data.dataset import TrainData, build_dataset
from burnish.data.units import Sequence, Unit
from burnish.engine.budget import choose_budget, free_bytes
from burnish.engine.memory import largest_micro_batch, resident_bytes, standing_bytes, step_bytes
from burnish.engine.models import give_values, with_head
from burnish.model.check import LayoutReport, foreseen_layout
from burnish.model.checkpointing import checkpoint_layers
from burnish.model.lean import make_lean
from burnish.model.loading import load_shapes, load_tokenizer
from burnish.model.signals import logp
from burnish.objective.compose import Objective
from burnish.objective.entries import check_kinds
from burnish.objective.roles import check_roles, roles_read
from burnish.objective.unread import unread
from burnish.rollout.foreseen import foreseen_batches, num_steps, seen_kinds

if TYPE_CHECKING:
    from burnish.config.sections import ModelSection
    from burnish.registry import Registry

MEASURED_STEPS = 32


@dataclass(frozen=True)
class TokenCount:
    """What one role forwards for some global batches, by layout.

    padded: rectangles, pads included; packed: sequences end to end; tree: common prefixes once. forwards: micro-batches in the
    layout that runs.
    """

    batches: int = 0
    forwards: int = 0
    padded: int = 0
    packed: int = 0
    tree: int = 0

    def __add__(self, other: TokenCount) -> TokenCount:
        """Counts of both."""
        return TokenCount(**{part.name: getattr(self, part.name) + getattr(other, part.name) for part in fields(self)})

    def of(self, layout: str) -> int:
        """Tokens in one layout."""
        return {"padded": self.padded, "packed": self.packed, "tree": self.tree}[layout]


@dataclass(frozen=True)
class Forecast:
    """What is known of a run. num_steps: None for a stream without `train.steps`; memory: part -> bytes; off: feature -> why;
    roles: whose log-probabilities are needed, None when the objective names code, which is not run; ignored: sentences on what
    comes with the rows and is not read."""

    data: TrainData
    num_steps: int | None
    layout: LayoutReport
    budget: int
    tokens: TokenCount
    roles: frozenset[str] | None
    memory: Mapping[str, int]
    free: int
    device: torch.device
    off: Mapping[str, str]
    ignored: tuple[str, ...]


def forecast(config: Config, registry: Registry) -> Forecast:
    """Everything but the training itself; raises what `train` would raise before loading weights."""
    with config.located():
        objective = None if custom_values(config, "objective.") else Objective.parse(config.objective, registry)
        config = config if objective is None else with_head(config, objective)
    if objective is not None:
        check_roles(config, objective.entries)
    tokenizer = load_tokenizer(config.model, registry)
    with config.located():

        def accept(kinds: Mapping[str, str]) -> None:
            seen = seen_kinds(config.rollout, kinds)
            if objective is not None:
                check_kinds(objective.entries, seen)

        data = build_dataset(config, tokenizer, registry, accept=accept)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_shapes(config.model, registry, tokenizer)
    layout = foreseen_layout(model, config.model.layout)
    if objective is not None:
        critics = give_values(model, config, objective, lambda name: load_shapes(_other(config, name), registry, tokenizer))
        layout = next((report for report in critics if report.kind == "padded"), layout)
    roles = None if objective is None else frozenset[str](roles_read(config, objective))
    beside = {role: load_shapes(section, registry, tokenizer) for role, section in _frozen(config, roles)}
    if config.train.precision == "pure_bf16":
        for one in (model, beside.get("reference") if config.reference.model == "auto" else None):
            if one is not None:
                one.to(torch.bfloat16)
    checkpoint_layers(model, config.train.gradient_checkpointing)
    make_lean(model)
    standing, free = standing_bytes(model, beside.values(), config, device), free_bytes(device)
    train = config.train
    steps = train.steps or num_steps(config.rollout, data, train.epochs, train.batch_size)
    batches = foreseen_batches(config.rollout, data, train.batch_size)
    measured = list(islice(batches, min(steps or MEASURED_STEPS, MEASURED_STEPS)))
    budget = train.micro_batch_tokens
    if budget == "auto":
        signals = (logp(),) if objective is None else objective.signals("policy")
        room, first = free - sum(standing.values()), measured[0] if measured and data.steps_per_epoch is not None else []
        budget = choose_budget(model, signals, layout.kind, config, room, device, first)
    tokens = count_tokens(measured, budget, layout.kind)
    ignored = [] if objective is None else unread(objective, [unit for units in measured for unit in units])
    largest, turns = largest_micro_batch(measured, objective, budget, layout.kind)
    needed, rough = step_bytes(model, largest, turns, objective, config, layout.kind, device, beside.get("teacher"))
    memory = {"process": resident_bytes(device), **standing, **needed}
    return Forecast(
        data=data,
        num_steps=steps,
        layout=layout,
        budget=budget,
        tokens=tokens,
        roles=roles,
        memory={name: size for name, size in memory.items() if size},
        free=free,
        device=device,
        off={**dict(_off(config, layout, roles, data)), **({} if rough is None else {"rehearsal of memory": rough})},
        ignored=tuple(ignored),
    )


def count_tokens(batches: Iterable[list[Unit]], budget: int, kind: Kind) -> TokenCount:
    """Counts over `batches`, each planned as training plans it, in micro-batches of `budget` tokens; `kind` is what runs."""
    total = TokenCount()
    for units in batches:
        [padded], [tree] = plan(units, budget, "padded"), plan(units, budget, "tree")
        [run] = plan(units, budget, kind)
        total += TokenCount(
            batches=1,
            forwards=len(run),
            padded=sum(micro.num_tokens for micro in padded),
            packed=sum(map(len, _sequences(units))),
            tree=sum(num_unique_tokens(_sequences(micro.units)) for micro in tree),
        )
    return total


def _sequences(units: Iterable[Unit]) -> list[Sequence]:
    return [sequence for unit in units for sequence in unit.sequences]


def _frozen(config: Config, roles: frozenset[str] | None) -> Iterator[tuple[str, Any]]:
    """Roles of the models that stand beside the policy, with their sections."""
    names = {"reference": config.reference.model, "teacher": config.teacher.model}
    for role, name in names.items():
        if roles is None or role not in roles or name in (None, "none") or (name == "auto" and config.model.adapter):
            continue
        other = {} if name == "auto" else {"name": name, "revision": None}
        yield role, config.model.model_copy(update={"adapter": (), **other})


def _other(config: Config, name: str) -> ModelSection:
    """The policy's section for another model."""
    return config.model.model_copy(update={"name": name, "revision": None, "adapter": (), "head": "auto"})


def _off(config: Config, layout: LayoutReport, roles: frozenset[str] | None, data: TrainData) -> Iterator[tuple[str, str]]:
    """Features that this run will not use, each with the reason or with what would switch it on."""
    if layout.kind != "tree":
        yield "prefix sharing", layout.reason or f"model.layout is {config.model.layout}"
    if roles is None:
        yield "reference and teacher", "not known: the objective names code, which only `train` runs"
    elif "reference" not in roles:
        yield "reference", "no part of the objective compares with one"
    elif not config.reference.cache:
        yield "cache of reference log-probabilities", "reference.cache is false"
    elif config.reference.sync is not None:
        yield "cache of reference log-probabilities", "the reference moves (reference.sync)"
    if not config.render.cache:
        yield "cache of tokenised rows", "render.cache is false"
    if not data.holdout:
        yield "evaluation", "nothing is held out; set data.NAME.holdout"
    elif not config.evaluate.rewards:
        yield "rewards on held-out rows", "evaluate.rewards names none"
    if config.checkpoint.every is None:
        yield "checkpoints while training", "checkpoint.every is null; only the final model is written"
    if config.evaluate.patience is None:
        yield "early stopping", "evaluate.patience is null"
    if not config.train.gradient_checkpointing:
        yield "gradient checkpointing", "train.gradient_checkpointing is false"
    if config.train.precision == "float32":
        yield "mixed precision", "train.precision is float32"
    if not config.track:
        yield "trackers", "track is empty; metrics.jsonl is always written"

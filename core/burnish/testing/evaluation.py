"""`evaluate`: an objective on a few rows and a model, with all that a training step would do to them, and what it did.

In: an objective as a config holds it, raw rows, a model. Out: values, gradients and an account of what really ran. Leaves the
model, its gradients and its attention as they were. The instrument of every test of losses, in the core and outside it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Sequence as List
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from burnish.batch.attention import attention_of, set_attention
from burnish.batch.layout import Kind
from burnish.config.sections import RenderSection
from burnish.data.detect import convert, detect_format, row_number
from burnish.data.render import Dropped, Renderer
from burnish.data.units import Mask, Sequence, Unit
from burnish.engine.step import StepRunner
from burnish.errors import ObjectiveError, did_you_mean
from burnish.model.adapters import has_adapter
from burnish.model.check import check_layout
from burnish.model.hashing import weights_hash
from burnish.model.lean import make_lean
from burnish.model.loading import find_model
from burnish.model.roles import Frozen, Roles
from burnish.model.scorer import Scorer, base_of
from burnish.model.signals import Signal
from burnish.objective.compose import Objective
from burnish.objective.entries import check_kinds
from burnish.objective.prepass import State
from burnish.objective.readings import RECORDED, column
from burnish.registry import Registry, load

Row = Mapping[str, Any]
WHOLE = 2**20  # tokens: nothing is dropped for its length


@dataclass(frozen=True)
class Evaluation:
    """What an objective is worth on some rows, and what it took.

    loss: the weighted sum of `parts`, which are not weighted. grads: of the loss, by the names of `model.named_parameters()`,
    for all that require one. layout: the one that really ran. forwarded_tokens, forwards: by role; remembered answers excluded.
    state: of the statistics, to hand to the next call.
    """

    loss: float
    parts: dict[str, float]
    metrics: dict[str, float]
    grads: dict[str, Tensor]
    layout: str
    forwarded_tokens: dict[str, int]
    forwards: dict[str, int]
    state: State


class _Memory:
    """Log-probabilities of frozen models, for as long as the process lives; float64 too."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Any] = {}

    def get(self, namespace: str, keys: Iterable[str]) -> dict[str, Any]:
        """As `LogpCache.get`."""
        return {key: self._known[namespace, key].copy() for key in keys if (namespace, key) in self._known}

    def put(self, namespace: str, logps: Mapping[str, Any]) -> None:
        """As `LogpCache.put`."""
        self._known.update({(namespace, key): values.copy() for key, values in logps.items()})


_MEMORY = _Memory()


def evaluate(
    objective: Any,
    rows: List[Row] | Mapping[str, List[Row]],
    model: nn.Module | str,
    tokenizer: Any,
    *,
    reference: nn.Module | str | None = None,
    teacher: nn.Module | str | None = None,
    roles: Mapping[str, nn.Module | str] | None = None,
    layout: Kind = "tree",
    micro_batches: int = 1,
    pairing: List[int] | None = None,
    state: State | None = None,
    seed: int = 0,
) -> Evaluation:
    """An objective's value, metrics and gradients on one global batch.

    objective: what a config holds, `[{"dpo": {"beta": 0.1}}]`, or an `Objective`. rows: raw rows of any known format; a mapping
    gives several sources by name. model: a transformers or PEFT model, or a path; it runs in the mode (train or eval) that it
    is in. reference: None is the policy itself, its adapter off. roles: further frozen models, such as {"old": model}. layout:
    what is asked for; models that cannot be laid out as a tree or packed are padded. micro_batches: exactly so many forwards
    and backwards. pairing: for losses that mismatch rows, row i goes with row pairing[i]. state: what the statistics left the
    last time. What a frozen model said of some tokens is remembered as long as the process lives. One of several processes
    (torch.distributed) does its share of the batch, in micro-batches of its own, and gives what all of them have found.
    """
    registry = _registry()
    parsed = objective if isinstance(objective, Objective) else Objective.parse(objective, registry)
    alone = not (dist.is_available() and dist.is_initialized())
    units = [unit for name, own in _sources(rows).items() for unit in _units(own, name, tokenizer, registry)]
    check_kinds(parsed.entries, {unit.source: unit.kind for unit in units})
    policy = _model(model, registry)
    given = {"reference": reference, "teacher": teacher, **(roles or {})}
    if unknown := sorted(given.keys() - {"reference", "teacher", *RECORDED}):
        raise ObjectiveError(f"no role '{unknown[0]}'. {did_you_mean(unknown[0], ['reference', 'teacher', *RECORDED])}")
    others = {role: _model(other, registry) for role, other in given.items() if other is not None}
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=range(torch.cuda.device_count())))
        torch.manual_seed(seed)
        for each in {id(each): each for each in (policy, *others.values())}.values():
            stack.enter_context(_own_attention_after(each))
        for module in make_lean(policy):
            stack.callback(delattr, module, "forward")
        gradients = stack.enter_context(_gradients(policy))
        kind = check_layout(policy, layout).kind
        budget = max(sum(len(sequence) for unit in units for sequence in unit.sequences) // micro_batches, 1)
        frozen = {role: _frozen(other, kind) for role, other in others.items()}
        itself = Frozen(None, _key(policy, base=True)) if has_adapter(policy) else _frozen(policy, kind)
        models = Roles(Scorer(policy, kind), kind, frozen.get("reference", itself), frozen.get("teacher"), _MEMORY)
        for role in RECORDED:
            if role in others:
                units = _recorded(units, others[role], kind, parsed.signals(role), budget)
        runner = StepRunner(models, parsed, budget, micro_batches=micro_batches if alone else None)
        result = runner.run(units, state, pairing=pairing)
        grads = gradients()
        if not alone:
            for gradient in grads.values():
                dist.all_reduce(gradient)
                gradient /= dist.get_world_size()
    return Evaluation(
        result.loss, result.parts, result.metrics, grads, kind, result.forwarded_tokens, result.forwards, result.state
    )


@cache
def _registry() -> Registry:
    """What is installed; looked up once, for tests evaluate often."""
    return load(run_code=True)


def _sources(rows: List[Row] | Mapping[str, List[Row]]) -> dict[str, List[Row]]:
    return dict(rows) if isinstance(rows, Mapping) else {"main": rows}


def _units(rows: List[Row], source: str, tokenizer: Any, registry: Registry) -> Iterator[Unit]:
    """The units of raw rows; rows without targets are left out, with a warning."""
    known = detect_format(rows, registry)
    renderer = Renderer(tokenizer, RenderSection(max_length=WHOLE, cache=False))
    examples = ((index, example) for index, row in enumerate(rows) for example in convert(known, row, row_number(index)))
    for index, example in examples:
        unit = renderer.render(example, source, index)
        if isinstance(unit, Dropped):
            warnings.warn(f"row {index} of {source} is left out: {unit.detail}", stacklevel=3)
        else:
            yield unit


def _model(given: nn.Module | str, registry: Registry) -> nn.Module:
    """A model, loaded in its own dtype when it is a name or path."""
    if isinstance(given, nn.Module):
        return given
    path = find_model(given, registry)
    architectures = AutoConfig.from_pretrained(path).architectures or [""]
    is_classifier = architectures[0].endswith("ForSequenceClassification")
    loaded: nn.Module = (AutoModelForSequenceClassification if is_classifier else AutoModelForCausalLM).from_pretrained(
        path, dtype="auto"
    )
    return loaded


def _frozen(model: nn.Module, kind: Kind) -> Frozen:
    """A model that answers without gradient; unlike `frozen_model`, which owns what it is given, this changes nothing of it."""
    return Frozen(Scorer(model, kind), _key(model))


def _key(model: nn.Module, base: bool = False) -> str:
    return f"{weights_hash(model, base=base)}-{next(model.parameters()).dtype}"


def _recorded(units: Iterable[Unit], model: nn.Module, kind: Kind, signals: tuple[Signal, ...], budget: int) -> list[Unit]:
    """Units with a recorded role's signals, scored by `model` as if they had come with the data."""
    roles = Roles(Scorer(model, kind), kind)

    def with_numbers(sequence: Sequence) -> Sequence:
        mask: Mask = np.arange(len(sequence)) > 0
        [found] = roles.score_frozen("old", [sequence], [mask], signals, budget)
        numbers = {column(signal): np.append(0.0, found[signal]) for signal in signals}
        return replace(sequence, tokens={**sequence.tokens, **numbers})

    return [replace(unit, sequences=tuple(map(with_numbers, unit.sequences))) for unit in units]


@contextmanager
def _own_attention_after(model: nn.Module) -> Iterator[None]:
    """Afterwards the model runs the attention that it runs now."""
    before = attention_of(base_of(model))
    try:
        yield
    finally:
        set_attention(base_of(model), before)


@contextmanager
def _gradients(model: nn.Module) -> Iterator[Callable[[], dict[str, Tensor]]]:
    """Within it gradients start from none; what is given reads them. Afterwards they are what they were."""
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    before = {name: parameter.grad for name, parameter in trained.items()}
    for parameter in trained.values():
        parameter.grad = None

    def read() -> dict[str, Tensor]:
        return {name: torch.zeros_like(one) if one.grad is None else one.grad for name, one in trained.items()}

    try:
        yield read
    finally:
        for name, parameter in trained.items():
            parameter.grad = before[name]

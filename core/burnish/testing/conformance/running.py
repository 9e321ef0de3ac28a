"""Checks of a loss on tiny models: what a training step does to it, in every layout, cut, order and precision.

In: a subject and rows. Out: nothing, or `Broken` with what was found. Slower than a formula's checks: some 30 ms an evaluation.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from burnish.model.signals import Signal, label_logp, logp, score
from burnish.model.tasks import Task, task_for
from burnish.model.values import add_value_head, value_head_of
from burnish.objective.compose import Objective
from burnish.objective.entries import Entry
from burnish.objective.prepass import State
from burnish.objective.reduce import Reduction
from burnish.testing.conformance.checking import Broken, Rows
from burnish.testing.conformance.ranks import on_two_ranks
from burnish.testing.conformance.rows import units_of
from burnish.testing.conformance.subject import Plain, Subject
from burnish.testing.evaluation import Evaluation, evaluate
from burnish.testing.tiny import tiny_model, tiny_tokenizer

EXACT, SINGLE = 1e-10, 1e-5  # relative bounds of a gradient: float64 without float32 norms, float32
CANCELLED = 1e-2  # of the plain likelihood's gradient: below it a relative error means nothing
HALF = 1.25  # how much larger the error of bfloat16 may be than the padded layout's own
NUM_STEPS = 2  # global batches in a row, so that what a statistic remembers counts too
NUM_ROUNDED = 24  # batches over which the ratio of two errors is averaged; one alone may be off by a third
EXACT_FAMILIES: dict[Task, str] = {"language": "gpt2", "sequence": "gpt2_classifier", "token": "phi_steps"}
"""Whose norms stay in float64."""
ROUNDING_FAMILIES: dict[Task, str] = {"language": "llama", "sequence": "llama_classifier", "token": "llama_steps"}
READ: dict[Task, Signal] = {"language": logp(), "sequence": score(), "token": label_logp(1)}
LAYOUTS: tuple[tuple[str, int, int], ...] = (("padded", 3, -1), ("packed", 6, 2), ("tree", 2, 1))


def layouts(subject: Subject, rows: Rows) -> None:
    """Value, gradient, metrics and state are the same in any layout, cut and order of the rows."""
    first = _steps(subject, rows)
    smallest = CANCELLED * float(_flat(_plain(subject, rows)).norm())
    for layout, cuts, turn in LAYOUTS:
        turned = rows[::-1] if turn < 0 else [*rows[turn:], *rows[:turn]]
        other = _steps(subject, turned, layout=layout, micro_batches=cuts)
        _equal(first, other, f"{layout} in {cuts} micro-batches", EXACT, smallest)


def checkpointing(subject: Subject, rows: Rows) -> None:
    """So they are when activations are computed anew in the backward pass."""
    model = copy.deepcopy(_model(_family(subject), torch.float64, 0))
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    _equal(_run(subject, rows), _run(subject, rows, model=model.train()), "with gradient checkpointing", EXACT)


def padding(subject: Subject, rows: Rows) -> None:
    """So they are when the token that pads is the one that ends a sequence."""
    tokenizers = (tiny_tokenizer(chat=False, pad_is_eos=shares) for shares in (False, True))
    plain, shared = (_run(subject, rows, tokenizer=tokenizer, layout="padded") for tokenizer in tokenizers)
    _equal(plain, shared, "when padding shares the id of the end of a sequence", EXACT)


def frozen_models(subject: Subject, rows: Rows) -> None:
    """No gradient reaches the reference's or the teacher's weights, even where they ask for one."""
    others = {role: copy.deepcopy(model) for role, model in _others(subject, torch.float64, 0).items()}
    _run(subject, rows, others=others)
    for role, model in others.items():
        if any(parameter.grad is not None for parameter in model.parameters()):
            raise Broken(f"the {role}'s weights got a gradient")


def rounded(subject: Subject, _: Rows) -> None:
    """In bfloat16 a tree's error against float64 is that of padded rows, over many batches."""
    ratios = []
    for seed, rows in enumerate(itertools.islice(itertools.cycle(subject.examples), NUM_ROUNDED)):
        model, others = _model(_family(subject), torch.bfloat16, seed), _others(subject, torch.bfloat16, seed)
        wide = {role: copy.deepcopy(other).double() for role, other in others.items()}
        exact = _flat(_run(subject, rows, model=copy.deepcopy(model).double(), others=wide))
        padded, tree = (_flat(_run(subject, rows, model=model, others=others, layout=kind)) for kind in ("padded", "tree"))
        ratios.append(math.log(float((tree - exact).norm() / (padded - exact).norm().clamp_min(1e-30))))
    worse = math.exp(sum(ratios) / len(ratios))
    if not worse <= HALF:
        raise Broken(f"in bfloat16 the gradient's error is {worse:.3g} times as large for a tree as it is for padded rows")


def single(subject: Subject, rows: Rows) -> None:
    """In float32, on a family whose norms round, the layouts agree to 1e-5."""
    family = _family(subject, ROUNDING_FAMILIES)
    smallest = CANCELLED * float(_flat(_plain(subject, rows, family)).norm())
    plain, tree = (_run(subject, rows, family=family, dtype=torch.float32, layout=layout) for layout in ("padded", "tree"))
    _equal(plain, tree, "as a tree in float32", SINGLE, smallest)


def ranks(subject: Subject, rows: Rows) -> None:
    """Two processes (gloo) give what one gives."""
    alone = _run(subject, rows)
    arguments = (rows, _model(_family(subject), torch.float64, 0), tiny_tokenizer(chat=False))
    for rank, result in enumerate(on_two_ranks(subject.objective, arguments, _others(subject, torch.float64, 0))):
        _equal(alone, result, f"on rank {rank} of 2", EXACT)


def _run(
    subject: Subject,
    rows: Rows,
    *,
    family: str | None = None,
    dtype: torch.dtype = torch.float64,
    model: nn.Module | None = None,
    others: dict[str, nn.Module] | None = None,
    tokenizer: Any = None,
    objective: Objective | None = None,
    **options: Any,
) -> Evaluation:
    """`evaluate` on the tiny models that the subject needs."""
    models = _others(subject, dtype, 0, family) if others is None else others
    given: dict[str, Any] = {role: models[role] for role in ("reference", "teacher") if role in models}
    given["roles"] = {role: other for role, other in models.items() if role not in given}
    model = _model(family or _family(subject), dtype, 0) if model is None else model
    tokenizer = tiny_tokenizer(chat=False) if tokenizer is None else tokenizer
    return evaluate(subject.objective if objective is None else objective, list(rows), model, tokenizer, **given, **options)


def _steps(subject: Subject, rows: Rows, **options: Any) -> Evaluation:
    """The last of some equal batches in a row."""
    state: State | None = None
    for _ in range(NUM_STEPS):
        result = _run(subject, rows, state=state, **options)
        state = result.state
    return result


def _plain(subject: Subject, rows: Rows, family: str | None = None) -> Evaluation:
    """The plain likelihood (or score) of the same targets: what a gradient that nearly cancels is measured by."""
    [unit, *_] = units_of(rows, subject.registry)
    roles = tuple(sequence.role for sequence in unit.sequences)
    task = task_for(subject.entry.signals())
    reduction, targets = Reduction("token_mean"), subject.entry.targets
    entry = Entry("plain", Plain(signal=READ[task]), "sequence", reduction, () if roles == ("main",) else roles, targets)
    dtype = torch.float64 if family is None else torch.float32
    return _run(subject, rows, family=family, dtype=dtype, objective=Objective((entry,)))


def _family(subject: Subject, families: Mapping[Task, str] = EXACT_FAMILIES) -> str:
    """Of the model that has what the subject reads."""
    return families[task_for(subject.entry.signals())]


@cache
def _model(family: str, dtype: torch.dtype, seed: int) -> Any:
    model = tiny_model(family, dtype, seed)
    if model.get_output_embeddings() is not None:
        add_value_head(model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            nn.init.normal_(value_head_of(model).weight)
    return model


def _others(subject: Subject, dtype: torch.dtype, seed: int, family: str | None = None) -> dict[str, nn.Module]:
    """Models of their own for all roles but the policy's."""
    roles = sorted(subject.objective.roles - {"policy"})
    return {role: _model(family or _family(subject), dtype, seed + 1 + place) for place, role in enumerate(roles)}


def _flat(result: Evaluation) -> Tensor:
    return torch.cat([gradient.double().flatten() for gradient in result.grads.values()])


def _equal(one: Evaluation, other: Evaluation, said: str, bound: float, smallest: float = 0.0) -> None:
    """Broken unless two evaluations agree. smallest: a gradient below it is measured by it."""
    if one.metrics.keys() != other.metrics.keys():
        raise Broken(f"the metric '{min(one.metrics.keys() ^ other.metrics.keys())}' is not there {said}")
    for name, value, found in [("loss", one.loss, other.loss), *((n, one.metrics[n], other.metrics[n]) for n in one.metrics)]:
        if not abs(found - value) <= 10 * bound * max(1.0, abs(value)):
            raise Broken(f"{name} is {value!r}, but {found!r} {said}")
    gradients = [_flat(result) for result in (one, other)]
    difference, size = float((gradients[1] - gradients[0]).norm()), max(float(gradients[0].norm()), smallest)
    if not difference <= bound * size:
        raise Broken(f"the gradient differs by {difference:.3g} of {size:.3g} {said}")



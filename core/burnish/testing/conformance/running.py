"""Checks of a loss on tiny models: what a training step does to it, in every layout, cut, order and precision.

In: a subject and rows. Out: nothing, or `Broken` with what was found. Slower than a formula's checks: some 30 ms an evaluation.
"""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import torch
from torch import Tensor

from burnish.model.signals import Signal, label_logp, logp, score
from burnish.model.tasks import Task
from burnish.objective.compose import Objective
from burnish.objective.entries import Entry
from burnish.objective.prepass import State
from burnish.objective.reduce import Reduction
from burnish.testing.conformance.checking import Broken, Rows
from burnish.testing.conformance.models import ROUNDING, others_of, policy_of, run, task_of
from burnish.testing.conformance.ranks import on_two_ranks
from burnish.testing.conformance.rows import units_of
from burnish.testing.conformance.subject import Plain, Subject
from burnish.testing.evaluation import Evaluation
from burnish.testing.tiny import tiny_tokenizer

EXACT, SINGLE = 1e-10, 1e-5  # relative bounds of a gradient: float64 without float32 norms, float32
CANCELLED = 1e-2  # of the plain likelihood's gradient: below it a relative error means nothing
HALF = 1.25  # how much larger the error of bfloat16 may be than the padded layout's own
NUM_STEPS = 2  # global batches in a row, so that what a statistic remembers counts too
NUM_ROUNDED = 24  # batches over which the ratio of two errors is averaged; one alone may be off by a third
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
    model: Any = copy.deepcopy(policy_of(subject.objective))
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    plain, again = run(subject.objective, rows), run(subject.objective, rows, policy=model.train())
    _equal(plain, again, "with gradient checkpointing", EXACT)


def padding(subject: Subject, rows: Rows) -> None:
    """So they are when the token that pads is the one that ends a sequence."""
    tokenizers = (tiny_tokenizer(chat=False, pad_is_eos=shares) for shares in (False, True))
    plain, shared = (run(subject.objective, rows, tokenizer=tokenizer, layout="padded") for tokenizer in tokenizers)
    _equal(plain, shared, "when padding shares the id of the end of a sequence", EXACT)


def frozen_models(subject: Subject, rows: Rows) -> None:
    """No gradient reaches the reference's or the teacher's weights, even where they ask for one."""
    others = {role: copy.deepcopy(model) for role, model in others_of(subject.objective).items()}
    run(subject.objective, rows, others=others)
    for role, model in others.items():
        if any(parameter.grad is not None for parameter in model.parameters()):
            raise Broken(f"the {role}'s weights got a gradient")


def rounded(subject: Subject, _: Rows) -> None:
    """In bfloat16 a tree's error against float64 is that of padded rows, over many batches."""
    objective, ratios = subject.objective, []
    for seed, rows in enumerate(itertools.islice(itertools.cycle(subject.examples), NUM_ROUNDED)):
        model = policy_of(objective, dtype=torch.bfloat16, seed=seed)
        others = others_of(objective, dtype=torch.bfloat16, seed=seed)
        wide = {role: copy.deepcopy(other).double() for role, other in others.items()}
        exact = _flat(run(objective, rows, policy=copy.deepcopy(model).double(), others=wide))
        padded, tree = (_flat(run(objective, rows, policy=model, others=others, layout=kind)) for kind in ("padded", "tree"))
        ratios.append(math.log(float((tree - exact).norm() / (padded - exact).norm().clamp_min(1e-30))))
    worse = math.exp(sum(ratios) / len(ratios))
    if not worse <= HALF:
        raise Broken(f"in bfloat16 the gradient's error is {worse:.3g} times as large for a tree as it is for padded rows")


def single(subject: Subject, rows: Rows) -> None:
    """In float32, on a family whose norms round, the layouts agree to 1e-5."""
    options: dict[str, Any] = {"families": ROUNDING, "dtype": torch.float32}
    smallest = CANCELLED * float(_flat(_plain(subject, rows, **options)).norm())
    plain, tree = (run(subject.objective, rows, layout=layout, **options) for layout in ("padded", "tree"))
    _equal(plain, tree, "as a tree in float32", SINGLE, smallest)


def ranks(subject: Subject, _: Rows) -> None:
    """Two processes (gloo) give what one gives. On one batch, since they take seconds to start."""
    objective, rows = subject.objective, subject.examples[0]
    alone, arguments = run(objective, rows), (rows, policy_of(objective), tiny_tokenizer(chat=False))
    for rank, result in enumerate(on_two_ranks(objective, arguments, others_of(objective))):
        _equal(alone, result, f"on rank {rank} of 2", EXACT)


def _steps(subject: Subject, rows: Rows, **options: Any) -> Evaluation:
    """The last of some equal batches in a row."""
    state: State | None = None
    for _ in range(NUM_STEPS):
        result = run(subject.objective, rows, state=state, **options)
        state = result.state
    return result


def _plain(subject: Subject, rows: Rows, **options: Any) -> Evaluation:
    """The plain likelihood (or score) of the same targets: what a gradient that nearly cancels is measured by."""
    [unit, *_] = units_of(rows, subject.registry)
    roles = tuple(sequence.role for sequence in unit.sequences)
    loss = Plain(signal=READ[task_of(subject.objective)])
    on = () if roles == ("main",) else roles
    entry = Entry("plain", loss, "sequence", Reduction("token_mean"), on, subject.entry.targets)
    return run(Objective((entry,)), rows, **options)


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



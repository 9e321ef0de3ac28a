"""`check_loss`: what every loss must hold.

In: a loss by name, class or instance. Out: a report. Knows no loss: only the contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.errors import BurnishError
from burnish.objective.entries import FITTING, ROLES
from burnish.registry import LossRecord
from burnish.testing.conformance import formula, running, wording
from burnish.testing.conformance.checking import Check, Rows, run_checks
from burnish.testing.conformance.contract import broken, contract
from burnish.testing.conformance.report import Profile, Report, Result
from burnish.testing.conformance.rows import TURNED
from burnish.testing.conformance.subject import Subject, installed, loss_subject, title_of

REGULAR = "reads or divides by the micro-batch: len(batch), a mean over it, a neighbour; return unreduced terms per member"
FORMULA: tuple[Check[Subject], ...] = (
    Check("finite", "a logarithm or an exponential of something unbounded; a signal that was not declared", formula.finite),
    Check("far", "log(sigmoid(x)) instead of logsigmoid(x), exp without a clamp, a tensor of its own precision", formula.far),
    Check("alone", "a standard deviation with n - 1 below it, a quantile of nothing", formula.alone),
    Check("empty", "a division by a length that may be 0: use .mean(), or lengths.clamp(min=1)", formula.empty),
    Check("learns", "terms that are detached, or a policy compared with itself", formula.learns, on_rows=False),
    Check("every target", "a mask off by one: a first or last target left out", formula.every_target, on_rows=False),
    Check("micro-batches", REGULAR, formula.micro_batches),
    Check("order", "a term that looks at its neighbour or its place", formula.order),
    Check("metrics", "a metric that is reduced already, or is given only where something occurs", formula.metrics),
    Check("dashboard", "sides that changed places in a metric", formula.dashboard),
    Check("untargeted", "a derived sequence with the wrong mask, or numbers read past the mask", formula.untargeted),
    Check("names", "a mask made by looking for an id, such as that of padding, which ends sequences too", formula.names),
    Check("frozen", "requires_grad_ on numbers of a frozen model", formula.frozen),
    Check("signals", "a signal of an earlier version of the formula", formula.signals_used, on_rows=False),
    Check("gradient", "an autograd function with a wrong backward", formula.slope),
    Check("preference", "a sign: both sides are treated alike", formula.preference, on_rows=False),
    Check("repeats", "a draw from the global random state, or memory in the object", formula.repeats),
    Check("state", "tensors or tuples in the state, or a state that is changed in place", formula.state),
)
WORDING: tuple[Check[Subject], ...] = (
    Check("docstring", "a page of the loss without its formula", wording.docstring, on_rows=False),
    Check("degenerate", "a constant, a sign, a sum for a mean", wording.degenerate, on_rows=False),
    Check("fields", "no __post_init__, or `x <= 0` where NaN must be refused too: `not x > 0`", wording.fields, on_rows=False),
    Check("copies", "a class inside a function, a field that is no plain value", wording.copies, on_rows=False),
)
RUNNING: tuple[Check[Subject], ...] = (
    Check("layouts", REGULAR, running.layouts),
    Check("checkpointing", "a signal of its own that draws or remembers", running.checkpointing),
    Check("padding", "a mask made by looking for an id", running.padding),
    Check("frozen models", "a frozen model's numbers put back into a graph", running.frozen_models),
)
LONG: tuple[Check[Subject], ...] = (
    Check("bfloat16", "a signal of its own that computes in the model's precision", running.rounded, on_rows=False),
    Check("float32", "a difference of large numbers that nearly cancel", running.single),
    Check("ranks", "anything that asks for the rank, or a statistic of a part of the batch", running.ranks, on_rows=False),
)
NUM_RUNS = 4  # batches of rows that models run on in the full profile


def check_loss(
    loss: Any, *, data: Rows | None = None, options: Mapping[str, Any] | None = None, profile: Profile = "fast"
) -> Report:
    """All that a loss must hold, on rows of its kind of data.

    loss: a registered name, `module:attr`, `./file.py:attr`, a class or an instance. data: raw rows to check it on as well.
    options: its fields, where `loss` is no instance. profile: `fast` takes some 3 s at most, `full` a minute.
    """
    registry = installed()
    title, kept = title_of(LossRecord.word, loss), contract(LossRecord, loss, registry)
    if not kept.passed:
        return Report(title, (kept,))
    try:
        subject = loss_subject(loss, registry, data, options, profile)
    except BurnishError as error:
        return Report(title, (broken(error),))
    on_numbers = run_checks(subject, [*WORDING, *fitting(subject)], subject.examples)
    return Report(title, (kept, *on_numbers, *run_on_models(subject)))


def fitting(subject: Subject) -> list[Check[Subject]]:
    """The checks of the formula that its kind of data has a meaning for."""
    of_kinds = {"preference": frozenset(TURNED), "dashboard": frozenset(ROLES), "empty": frozenset(FITTING)}
    return [check for check in FORMULA if subject.entry.data in of_kinds.get(check.name, {subject.entry.data})]


def run_on_models(subject: Subject) -> tuple[Result, ...]:
    """The checks that train tiny models: on one batch, in the full profile on several and more of them."""
    checks, count = (RUNNING, 1) if subject.profile == "fast" else ((*RUNNING, *LONG), NUM_RUNS)
    return run_checks(subject, checks, subject.examples[:count])

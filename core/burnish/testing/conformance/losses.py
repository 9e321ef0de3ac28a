"""`check_loss`: what every loss must hold.

In: a loss by name, class or instance. Out: a report. Knows no loss: only the contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.errors import BurnishError
from burnish.registry import LossRecord
from burnish.testing.conformance import formula
from burnish.testing.conformance.checking import Check, Rows, run_checks
from burnish.testing.conformance.report import Profile, Report, Result
from burnish.testing.conformance.subject import Subject, loss_subject, title_of

REGULAR = "reads or divides by the micro-batch: len(batch), a mean over it, a neighbour; return unreduced terms per member"
FORMULA: tuple[Check[Subject], ...] = (
    Check("finite", "a logarithm or an exponential of something unbounded; a signal that was not declared", formula.finite),
    Check("far", "log(sigmoid(x)) instead of logsigmoid(x), exp without a clamp, a tensor of its own precision", formula.far),
    Check("alone", "a standard deviation with n - 1 below it, a quantile of nothing", formula.alone),
    Check("learns", "terms that are detached, or a policy compared with itself", formula.learns, on_rows=False),
    Check("every target", "a mask off by one: a first or last target left out", formula.every_target, on_rows=False),
    Check("micro-batches", REGULAR, formula.micro_batches),
    Check("order", "a term that looks at its neighbour or its place", formula.order),
    Check("metrics", "a metric that is reduced already, or is given only where something occurs", formula.metrics),
    Check("untargeted", "a derived sequence with the wrong mask, or numbers read past the mask", formula.untargeted),
    Check("names", "a mask made by looking for an id, such as that of padding, which ends sequences too", formula.names),
    Check("frozen", "requires_grad_ on numbers of a frozen model", formula.frozen),
    Check("signals", "a signal of an earlier version of the formula", formula.signals_used, on_rows=False),
    Check("gradient", "an autograd function with a wrong backward", formula.slope),
    Check("preference", "a sign: both sides are treated alike", formula.preference, on_rows=False),
    Check("repeats", "a draw from the global random state, or memory in the object", formula.repeats),
    Check("state", "tensors or tuples in the state, or a state that is changed in place", formula.state),
)


def check_loss(
    loss: Any, *, data: Rows | None = None, options: Mapping[str, Any] | None = None, profile: Profile = "fast"
) -> Report:
    """All that a loss must hold, on rows of its kind of data.

    loss: a registered name, `module:attr`, `./file.py:attr`, a class or an instance. data: raw rows to check it on as well.
    options: its fields, where `loss` is no instance. profile: `fast` takes some 3 s at most, `full` a minute.
    """
    title = title_of(LossRecord.word, loss)
    try:
        subject = loss_subject(loss, data, options, profile)
    except BurnishError as error:
        return Report(title, (Result("contract", False, str(error)),))
    return Report(title, run_checks(subject, _fitting(subject), subject.examples))


def _fitting(subject: Subject) -> list[Check[Subject]]:
    checks = [check for check in FORMULA if check.name != "preference" or subject.entry.data in formula.TURNED]
    return checks

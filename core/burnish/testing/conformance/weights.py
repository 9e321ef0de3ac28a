"""`check_weight`: what every weight must hold. In: a weight by name, class or instance. Out: a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.errors import BurnishError
from burnish.registry import WeightRecord
from burnish.testing.conformance.checking import Check, Rows, run_checks
from burnish.testing.conformance.contract import broken, contract
from burnish.testing.conformance.formula import not_negative
from burnish.testing.conformance.losses import LONG, NUM_RUNS, PROCESSES, RUNNING, WORDING, fitting
from burnish.testing.conformance.report import Profile, Report
from burnish.testing.conformance.subject import Subject, installed, title_of, weight_subject

OF_LOSSES = frozenset({"learns", "gradient", "preference"})  # what only a loss must do
NOT_NEGATIVE = Check("not negative", "a difference, or a logarithm, where a ratio was meant", not_negative)


def weight_checks(subject: Subject) -> list[Check[Subject]]:
    """The checks of a weight's formula."""
    return [*(check for check in fitting(subject) if check.name not in OF_LOSSES), NOT_NEGATIVE]


def check_weight(
    weight: Any, *, data: Rows | None = None, options: Mapping[str, Any] | None = None, profile: Profile = "fast"
) -> Report:
    """All that a weight must hold, beside the likelihood of single sequences; arguments as for `check_loss`."""
    registry = installed()
    title, kept = title_of(WeightRecord.word, weight), contract(WeightRecord, weight, registry)
    if not kept.passed:
        return Report(title, (kept,))
    try:
        subject = weight_subject(weight, registry, data, options, profile)
    except BurnishError as error:
        return Report(title, (broken(error),))
    formula: list[Check[Subject]] = [*WORDING, *weight_checks(subject)]
    first, runs = subject.examples[:1], RUNNING if profile == "fast" else (*RUNNING, *LONG)
    results = (kept, *run_checks(subject, formula, subject.examples))
    results += run_checks(subject, runs, first if profile == "fast" else subject.examples[:NUM_RUNS])
    return Report(title, results + (() if profile == "fast" else run_checks(subject, PROCESSES, first)))

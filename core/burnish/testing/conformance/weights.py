"""`check_weight`: what every weight must hold. In: a weight by name, class or instance. Out: a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.errors import BurnishError
from burnish.registry import WeightRecord
from burnish.testing.conformance.checking import Check, Rows, run_checks
from burnish.testing.conformance.contract import broken, contract
from burnish.testing.conformance.formula import not_negative
from burnish.testing.conformance.losses import WORDING, fitting, run_on_models
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
    on_numbers = run_checks(subject, [*WORDING, *weight_checks(subject)], subject.examples)
    return Report(title, (kept, *on_numbers, *run_on_models(subject)))

"""The kit finds planted bugs, each by the check that is there for it, and says nothing of a loss without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.registry import LossRecord
from burnish.registry.custom import import_custom
from burnish.testing import Result, check_loss
from burnish.testing.conformance.checking import run_checks
from burnish.testing.conformance.losses import FORMULA, LONG, RUNNING, WORDING
from burnish.testing.conformance.subject import installed, loss_subject, target_of

CHECKS = {check.name: check for check in (*WORDING, *FORMULA, *RUNNING)}
PLANTED = {
    "LocalTokenCount": "micro-batches",
    "DoubleReduction": "micro-batches",
    "PadIsEnd": "names",
    "LeakedReference": "frozen",
    "SumForMean": "degenerate",
    "SumForTokens": "finite",
    "Neighbour": "order",
    "Ddof": "alone",
    "WrongSign": "preference",
    "Undeclared": "finite",
    "Unread": "signals",
    "MetricNowAndThen": "metrics",
    "ReducedMetric": "metrics",
    "FirstTargetLeftOut": "every target",
    "DerivedMaskOffByOne": "untargeted",
    "Overflow": "far",
    "WrongBackward": "gradient",
    "Detached": "learns",
    "MeanOfNothing": "empty",
    "SidesInMetrics": "dashboard",
    "Rolled": "repeats",
    "TensorState": "state",
    "OpenEnded": "fields",
    "WrongConstant": "degenerate",
}


def planted(name: str) -> Any:
    return import_custom(f"{Path(__file__).with_name('planted.py')}:{name}")


def run(name: str, *checks: str) -> dict[str, Result]:
    subject = loss_subject(planted(name), installed())
    results = run_checks(subject, [CHECKS[check] for check in checks], subject.examples)
    return {result.name: result for result in results}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found_by_its_check(name: str) -> None:
    result = run(name, PLANTED[name])[PLANTED[name]]
    assert not result.passed
    assert result.message
    assert result.cause


@pytest.mark.parametrize("check", ["layouts", "micro-batches"])
def test_a_mean_over_the_micro_batch_is_found_on_models_too(check: str) -> None:
    assert not run("DoubleReduction", check)[check].passed


def test_the_end_of_an_answer_is_missed_where_it_is_masked_as_padding() -> None:
    assert "leaves out a target" in run("PadIsEnd", "untargeted")["untargeted"].message


def test_a_metric_of_the_first_rank_only_needs_no_rank_to_pass_but_two_to_fail() -> None:
    assert run("MetricOnRank", "metrics")["metrics"].passed


@pytest.mark.slow
@pytest.mark.multiprocess
def test_a_metric_of_the_first_rank_only_is_found_by_two_processes() -> None:
    subject = loss_subject(planted("MetricOnRank"), installed())
    [result] = run_checks(subject, [check for check in LONG if check.name == "ranks"], ())
    assert not result.passed
    assert "gap" in result.message


@pytest.mark.slow
@pytest.mark.multiprocess
def test_two_processes_agree_about_a_loss_without_a_bug() -> None:
    subject = loss_subject(planted("Preference"), installed())
    [result] = run_checks(subject, [check for check in LONG if check.name == "ranks"], ())
    assert result.passed, result.message


def test_a_loss_without_a_bug_passes() -> None:
    report = check_loss(planted("Preference"))
    report.raise_for_failures()
    assert {result.name for result in report.results} == CHECKS.keys() | {"contract"}


def test_the_smallest_example_is_as_small_as_the_bug_allows() -> None:
    """Two pairs, of one-letter prompts and answers: a division by the number of pairs needs no more."""
    [result] = run("DoubleReduction", "micro-batches").values()
    rows = json.loads(result.example)
    assert len(rows) == 2
    assert all(len(said) <= 1 for row in rows for said in row.values())


def test_a_report_says_what_failed_on_what_and_why() -> None:
    report = check_loss(planted("WrongConstant"))
    assert not report.ok
    with pytest.raises(AssertionError, match=r"1 of \d+ checks failed") as raised:
        report.raise_for_failures()
    said = " ".join(str(raised.value).split())
    assert "`L(unmoved) == 1` does not hold: 0.5, 0.5, 0.5 and 1" in said
    assert "usually: a constant, a sign, a sum for a mean" in said
    assert [result.name for result in report.failures] == ["degenerate"]


def test_what_is_no_loss_fails_instead_of_raising() -> None:
    report = check_loss(dict)
    assert [result.name for result in report.failures] == ["contract"]
    assert not check_loss("no-such-loss").ok


def test_a_name_a_class_and_an_instance_are_one_loss() -> None:
    ipo = target_of(LossRecord, "ipo", installed())
    subjects = [loss_subject(given, installed()) for given in ("ipo", ipo, ipo())]
    assert len({(subject.entry.name, subject.entry.loss, subject.entry.data) for subject in subjects}) == 1
    assert loss_subject("ipo", installed(), options={"beta": 0.5}).entry.loss == ipo(beta=0.5)

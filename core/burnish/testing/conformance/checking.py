"""How checks are run: one after the other, a failure made as small as it gets, nothing raised. Knows no plugin.

In: a subject, its checks, rows to run them on. Out: results.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Sequence as List
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from burnish.errors import raised
from burnish.testing.conformance.report import Result

S = TypeVar("S")
Rows = List[Mapping[str, Any]]
Problem = tuple[type[BaseException], str]
SHRINK_S = 5.0  # how long a failing example is made smaller


class Broken(AssertionError):
    """A check that does not hold; the message says what was found."""


@dataclass(frozen=True)
class Check(Generic[S]):
    """One thing that must hold. name: as the table shows it. cause: what usually breaks it. run: raises `Broken`, or anything
    else, when it does not hold. on_rows: whether what it is given matters; else it runs once."""

    name: str
    cause: str
    run: Callable[[S, Rows], None]
    on_rows: bool = True


def run_checks(subject: S, checks: Iterable[Check[S]], examples: List[Rows]) -> tuple[Result, ...]:
    """A result for each check. examples: batches of rows, every one of which it must hold on."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # the tensors are tiny: threads would wait for each other, by a factor of fifty on a busy machine
    try:
        return tuple(_run(subject, check, examples) for check in checks)
    finally:
        torch.set_num_threads(before)


def _run(subject: S, check: Check[S], examples: List[Rows]) -> Result:
    for rows in examples if check.on_rows else [()]:
        found = _problem(subject, check, rows)
        if found is not None:
            smallest, (_, message) = _smallest(subject, check, rows, found) if check.on_rows else (rows, found)
            example = json.dumps(list(smallest), ensure_ascii=False, default=str) if check.on_rows else ""
            return Result(check.name, False, message, example, check.cause)
    return Result(check.name, True)


def _problem(subject: S, check: Check[S], rows: Rows) -> Problem | None:
    """What is wrong on these rows; None when nothing is."""
    try:
        check.run(subject, rows)
    except Broken as broken:
        return Broken, str(broken)
    except Exception as error:
        return type(error), raised(error)
    return None


def _smallest(subject: S, check: Check[S], rows: Rows, problem: Problem) -> tuple[Rows, Problem]:
    """The rows with as much as possible taken away, such that the check still fails in the same way, and how it then does."""
    until = time.monotonic() + SHRINK_S
    smaller = True
    while smaller and time.monotonic() < until:
        smaller = False
        for candidate in _smaller(rows):
            found = _problem(subject, check, candidate)
            if found is not None and found[0] is problem[0]:
                rows, problem, smaller = candidate, found, True
                break
            if time.monotonic() > until:
                break
    return rows, problem


def _smaller(rows: Rows) -> Iterator[Rows]:
    """Rows with one taken away, then with one column made shorter or dropped; the largest steps first."""
    if len(rows) > 2:
        yield rows[: len(rows) // 2]
        yield rows[len(rows) // 2 :]
    for place in range(len(rows) if len(rows) > 1 else 0):
        yield [*rows[:place], *rows[place + 1 :]]
    for place, row in enumerate(rows):
        for column, value in row.items():
            for shorter in _shorter(value):
                yield [*rows[:place], {**row, column: shorter}, *rows[place + 1 :]]


def _shorter(value: Any) -> Iterator[Any]:
    """A text cut to half, or to all but one character; a list of texts with one of them shorter."""
    if isinstance(value, str) and len(value) > 1:
        yield value[: len(value) // 2]
        yield value[:-1]
    elif isinstance(value, list):
        for place, item in enumerate(value):
            for shorter in _shorter(item):
                yield [*value[:place], shorter, *value[place + 1 :]]

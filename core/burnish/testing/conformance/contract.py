"""The first check of anything: that it is what its kind of record promises. Imports it, calls nothing of it."""

from __future__ import annotations

from typing import Any

from burnish.errors import BurnishError
from burnish.registry import Registry
from burnish.registry.inspection import target_problems
from burnish.registry.records import Record
from burnish.testing.conformance.report import Result
from burnish.testing.conformance.subject import target_of, title_of

CONTRACT = "contract"


def contract(kind: type[Record], given: Any, registry: Registry) -> Result:
    """Whether it can be imported and has the members that the core calls."""
    try:
        target = target_of(kind, given, registry)
    except BurnishError as error:
        return broken(error)
    problems = list(target_problems(kind, target, title_of(kind.word, given)))
    return Result(CONTRACT, not problems, "; ".join(problems), cause="a member that is missing or has another name")


def broken(error: BurnishError) -> Result:
    """A contract that does not hold, since this was raised."""
    return Result(CONTRACT, False, str(error))

"""`check_format`: what every format must hold. In: a format by name, class or object. Out: a report."""

from __future__ import annotations

from typing import Any

from burnish.testing.conformance.checking import Rows
from burnish.testing.conformance.report import Report


def check_format(known: Any, *, examples: Rows | None = None) -> Report:
    """All that a format must hold. known: a registered name, `module:attr`, a class or an object. examples: raw rows of its
    form, beside those that its record names."""
    return Report(f"format {known}", ())

"""`check_weight`: what every weight must hold. In: a weight by name, class or instance. Out: a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.testing.conformance.checking import Rows
from burnish.testing.conformance.report import Profile, Report


def check_weight(
    weight: Any, *, data: Rows | None = None, options: Mapping[str, Any] | None = None, profile: Profile = "fast"
) -> Report:
    """All that a weight must hold, beside the likelihood of single sequences; arguments as for `check_loss`."""
    return Report(f"weight {weight}", ())

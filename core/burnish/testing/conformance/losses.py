"""`check_loss`: what every loss must hold.

In: a loss by name, class or instance. Out: a report. Knows no loss: only the contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.testing.conformance.checking import Rows
from burnish.testing.conformance.report import Profile, Report


def check_loss(
    loss: Any, *, data: Rows | None = None, options: Mapping[str, Any] | None = None, profile: Profile = "fast"
) -> Report:
    """All that a loss must hold, on rows of its kind of data.

    loss: a registered name, `module:attr`, `./file.py:attr`, a class or an instance. data: raw rows to check it on as well.
    options: its fields, where `loss` is no instance. profile: `fast` takes some 3 s at most, `full` a minute.
    """
    return Report(f"loss {loss}", ())

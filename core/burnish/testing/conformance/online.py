"""`check_reward`, `check_advantage`, `check_backend`, `check_environment`. In: one by name, class or object. Out: a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.testing.conformance.checking import Rows
from burnish.testing.conformance.report import Report


def check_reward(reward: Any, *, data: Rows | None = None, options: Mapping[str, Any] | None = None) -> Report:
    """A reward, called on completions. data: rows with `prompt`, `completion` and the columns that it asks for."""
    return Report(f"reward {reward}", ())


def check_advantage(advantage: Any, *, options: Mapping[str, Any] | None = None) -> Report:
    """An advantage, on the rewards of groups."""
    return Report(f"advantage {advantage}", ())


def check_backend(backend: Any, *, options: Mapping[str, Any] | None = None) -> Report:
    """A backend: its members and their signatures; it is not started."""
    return Report(f"backend {backend}", ())


def check_environment(environment: Any, *, options: Mapping[str, Any] | None = None) -> Report:
    """An environment: its signature; no episode is played."""
    return Report(f"environment {environment}", ())

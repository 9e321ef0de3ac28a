"""Lint and types are part of the tests: ruff over everything, mypy strict over core and plugins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def run(root: Path, *command: str) -> None:
    result = subprocess.run([sys.executable, "-m", *command], cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]


def test_ruff(root: Path) -> None:
    run(root, "ruff", "check", "core", "plugins", "contrib", "tests", "docs")


def test_mypy_core(root: Path) -> None:
    run(root, "mypy", "core/burnish")


def plugin_packages() -> list[str]:
    root = Path(__file__).resolve().parents[2]
    return sorted(path.relative_to(root).as_posix() for path in root.glob("plugins/*/burnish_*"))


@pytest.mark.skipif(not plugin_packages(), reason="no plugin packages in this checkout")
def test_mypy_plugins(root: Path) -> None:
    run(root, "mypy", *plugin_packages())

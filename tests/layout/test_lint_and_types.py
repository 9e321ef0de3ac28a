"""Lint and types are part of the tests: ruff over everything, mypy strict over core and plugins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def run(root: Path, *command: str) -> None:
    result = subprocess.run([sys.executable, "-m", *command], cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]


def test_ruff(root: Path) -> None:
    run(root, "ruff", "check", "core", "plugins", "contrib", "tests", "docs")


def test_mypy_core(root: Path) -> None:
    run(root, "mypy", "core/burnish")


def test_mypy_plugins(root: Path) -> None:
    """Under the names they are imported by, as installed."""
    packages = sorted(path.name for path in root.glob("plugins/*/burnish_*"))
    run(root, "mypy", *(argument for package in packages for argument in ("-p", package)))

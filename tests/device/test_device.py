"""burnish on a GPU, as far as that can be told without one: losses, weights and runs on a device double."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_what_is_driven_on_the_device() -> None:
    """In a process of its own: torch must know of a device before the first backward pass, and then knows it for good."""
    driven = Path(__file__).with_name("driven.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(driven)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout[-6000:]

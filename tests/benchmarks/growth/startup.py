"""What installed plugins cost before a run begins: a process that finds them all, and `burnish --help`.

In: how many made-up plugins stand beside the installed ones. Out: seconds, each of a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.growth.worker import made_up_plugins

FINDING = (
    "import json, time; began = time.perf_counter(); from burnish import registry; imported = time.perf_counter(); "
    "found = registry.load(); loaded = time.perf_counter(); found.fingerprint(); hashed = time.perf_counter(); "
    "print(json.dumps([len(found.plugins), loaded - imported, hashed - loaded]))"
)


def started(count: int, times: int, disabled: tuple[str, ...] = ()) -> dict[str, Any]:
    """Seconds to find all plugins (`registry.load`), to hash their sources, and of `burnish --help`; several of each."""
    found: dict[str, Any] = {"made_up": count, "disabled": len(disabled), "load": [], "hash": [], "help": []}
    with tempfile.TemporaryDirectory() as name:
        made_up_plugins(Path(name) / "plugins", count)
        environment = {**os.environ, "PYTHONPATH": str(Path(name) / "plugins"), "BURNISH_DISABLE_PLUGINS": ",".join(disabled)}
        for _ in range(times):
            told = subprocess.run([sys.executable, "-c", FINDING], env=environment, capture_output=True, text=True, check=True)
            found["plugins"], load, hashing = json.loads(told.stdout)
            began = time.perf_counter()
            subprocess.run([sys.executable, "-m", "burnish", "--help"], env=environment, capture_output=True, check=True)
            for what, seconds in (("load", load), ("hash", hashing), ("help", time.perf_counter() - began)):
                found[what].append(seconds)
    return found

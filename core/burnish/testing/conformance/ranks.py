"""An objective on two processes. Run as a program, it is one of them.

In: an objective, rows, models. Out: what each process says of the batch that both share. The processes are fresh ones, so that
nothing depends on how the caller was started; what they are told they read from a file that the caller wrote.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch import nn

from burnish.objective.compose import Objective
from burnish.registry.custom import CUSTOM, import_custom
from burnish.testing.conformance.checking import Broken
from burnish.testing.evaluation import Evaluation, evaluate

NUM_RANKS = 2
LIMIT_S = 300.0  # for a machine that others keep busy; two free processors take some 15 s
GRACE_S = 1.0  # for the others to fail by themselves, and to say why


def on_two_ranks(objective: Objective, arguments: tuple[Any, ...], others: Mapping[str, nn.Module]) -> list[Evaluation]:
    """What `evaluate(objective, *arguments)` gives in each of two processes. others: frozen models by role."""
    given = {role: others[role] for role in ("reference", "teacher") if role in others}
    roles = {role: model for role, model in others.items() if role not in given}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "told").write_bytes(pickle.dumps((objective, arguments, {**given, "roles": roles})))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", __name__, name, *_custom_files(objective)]
        processes = [
            _started(command, {**environment, "RANK": str(rank)}, folder / f"errors-{rank}") for rank in range(NUM_RANKS)
        ]
        try:
            _wait(processes)
        finally:
            for process in processes:
                process.kill()
                process.wait()
        for rank, process in enumerate(processes):
            said = (folder / f"errors-{rank}").read_text(encoding="utf-8", errors="replace").strip()
            if process.returncode > 0:
                raise Broken(f"rank {rank} of {NUM_RANKS} failed: {said.splitlines()[-1] if said else process.returncode}")
        if any(process.returncode for process in processes):
            raise Broken(f"{NUM_RANKS} processes did not end within {LIMIT_S:g} s")
        return [pickle.loads((folder / f"said-{rank}").read_bytes()) for rank in range(NUM_RANKS)]


def _started(command: list[str], environment: dict[str, str], errors: Path) -> subprocess.Popen[bytes]:
    with errors.open("wb") as stream:
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=stream)


def _wait(processes: list[subprocess.Popen[bytes]]) -> None:
    """Until all have ended, or one has failed: the others would wait for it forever."""
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until and any(process.poll() is None for process in processes):
        if any(process.returncode for process in processes):
            time.sleep(GRACE_S)
            return
        time.sleep(0.05)


def _custom_files(objective: Objective) -> list[str]:
    """`FILE:CLASS` of the parts that come from a file of their own, which another process must import by its path."""
    parts = [owner for entry in objective.entries for _, owner in entry.owners]
    return [
        f"{sys.modules[type(part).__module__].__file__}:{type(part).__name__}"
        for part in parts
        if type(part).__module__.startswith(CUSTOM)
    ]


def main(folder: Path, customs: list[str]) -> None:
    """One of the processes."""
    torch.set_num_threads(1)
    for custom in customs:
        import_custom(custom)
    rank = int(os.environ["RANK"])
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=NUM_RANKS)
    objective, arguments, options = pickle.loads((folder / "told").read_bytes())
    result = evaluate(objective, *arguments, **options)
    (folder / f"said-{rank}").write_bytes(pickle.dumps(result))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])

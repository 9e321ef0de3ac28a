"""Points measured: each in a process of its own, forked from one that has imported everything and done nothing.

In: a point. Out: plain values, for JSON. The run is one of `burnish.train`, watched by an observer.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
import re
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
import torch
from tests.benchmarks.growth.points import LOSSES, POLICY, Point, pairs, rows, shape
from tests.benchmarks.speed.measuring import Clock, matrix_rate, peak_bytes, state_bytes

from burnish.objective.compose import Objective

TOUCHED, SMALL = 2_000_000_000, 64
PRELOADED = ["burnish.api", "tests.benchmarks.growth.worker", "burnish.testing", "burnish.engine.setup"]


def turn_of(step: int, count: int) -> int:
    """Whose turn it is: in every round somebody else's first."""
    return (step + step // count) % count


class Watch:
    """An observer that measures steps; `turns`, if any: objectives that take turns, one a step."""

    def __init__(self, turns: list[Objective] | None = None) -> None:
        self.clock, self.turns = Clock(), turns or []
        self.found: dict[str, Any] = {}

    def run_started(self, run: Any) -> None:
        """All is loaded."""
        self.found["micro_batch_tokens"] = run.config.train.micro_batch_tokens
        self.found["state_bytes"] = state_bytes(run.model)
        self.found["matrix_rate"] = matrix_rate(torch.float32)
        self._turn(run)
        self.clock.start()

    def step_finished(self, run: Any, step: Any) -> None:
        """A step is over."""
        self.clock.tick()
        self.found["peak_bytes"] = peak_bytes()
        self.found["forwarded_tokens"] = run.runner.roles.forwarded_tokens["policy"] // len(self.clock.steps)
        self._turn(run)

    def _turn(self, run: Any) -> None:
        if self.turns:
            run.runner.objective = self.turns[turn_of(len(self.clock.steps), len(self.turns))]


def measured(folder: Path, point: Point, steps: int) -> dict[str, Any]:
    """Seconds and CPU seconds of `steps` steps after one to warm up; peak_bytes: what training added to the process."""
    watch, before = Watch(), resident_bytes()
    sys.path.insert(0, str(folder / "plugins"))
    _train(folder, point, rows(point), POLICY[:1], steps + 1, watch)
    times = {what: [step[what] for step in watch.clock.steps[1:]] for what in ("seconds", "cpu_seconds")}
    return {**watch.found, **times, "peak_bytes": watch.found["peak_bytes"] - before}


def compared(folder: Path, point: Point, kind: str, rounds: int) -> dict[str, Any]:
    """Seconds of steps with one loss, two and three, by turns in one run; the first round warms up."""
    from burnish.registry import load

    registry, losses = load(), LOSSES[kind]
    turns = [Objective.parse(losses[:count], registry) for count in range(1, len(losses) + 1)]
    watch = Watch(turns)
    data = rows(point) if kind == "policy gradient" else pairs(point)
    _train(folder, point, data, losses, (rounds + 1) * len(turns), watch)
    found: dict[str, Any] = {"losses": [next(iter(one)) for one in losses]}
    for what in ("seconds", "cpu_seconds"):
        found[what] = [[] for _ in turns]
        for place, step in enumerate(watch.clock.steps[len(turns) :], len(turns)):
            found[what][turn_of(place, len(turns))].append(step[what])
    return found


def touch(size: int) -> None:
    """Write to so many bytes and let them go: a virtual machine is slow where memory is used for the first time."""
    np.zeros(size, np.uint8)[:: mmap.PAGESIZE] = 1


def fresh(work: Callable[..., dict[str, Any]], point: Point, *arguments: Any) -> dict[str, Any]:
    """The answer of a process of its own; under DDP over gloo that of several: seconds of the slowest, the rest together."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack, socket.socket() as probe:
        folder = Path(name)
        made_up_plugins(folder / "plugins", point.plugins)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        pools = [stack.enter_context(_context().Pool(1, _as_rank, (rank, port, point, folder))) for rank in range(point.ranks)]
        asked = [pool.apply_async(work, (folder, point, *arguments)) for pool in pools]
        every = [one.get(600) for one in asked]
    if len(every) == 1:
        return every[0]
    together = {name: sum(one[name] for one in every) for name in ("peak_bytes", "state_bytes", "forwarded_tokens")}
    seconds, used = ([one[what] for one in every] for what in ("seconds", "cpu_seconds"))
    return {**every[0], **together, "seconds": [*map(max, *seconds)], "cpu_seconds": [*map(sum, zip(*used, strict=True))]}


def resident_bytes() -> int:
    """What this process holds now."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


def made_up_plugins(folder: Path, count: int) -> None:
    """So many distributions, each with an entry point, a module, a record."""
    folder.mkdir(parents=True)
    for number in range(count):
        name = f"made_up_{number}"
        (folder / f"{name}.py").write_text(
            "from burnish import hookimpl\nfrom burnish.registry.records import LossRecord\n\n\n"
            "@hookimpl\ndef burnish_losses():\n"
            f'    return [LossRecord(name="{name}", target="{name}:Loss", summary="Made up", data="sequence", '
            'reduction="token_mean", api=1)]\n'
        )
        about = folder / f"{name}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[burnish]\n{name} = {name}\n")


def _as_rank(rank: int, port: int, point: Point, folder: Path) -> None:
    """What a launcher would have set."""
    touch(min(TOUCHED, psutil.virtual_memory().available // 2) // point.ranks if point.hidden > SMALL else 0)
    torch.set_num_threads(point.threads)
    os.environ |= {"BURNISH_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    if point.ranks > 1:
        size = str(point.ranks)
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def _train(folder: Path, point: Point, data: list[Any], losses: list[Any], steps: int, watch: Watch) -> None:
    import burnish
    from burnish.testing import tiny_model, tiny_tokenizer

    config = {
        "render": {"max_length": 4096, "cache": False},
        "objective": losses,
        "train": {"batch_size": len(data), "steps": steps},
        "optimizer": {"lr": 1e-6},
        "schedule": {"name": "constant"},
        "output": str(folder / "run"),
    }
    model = tiny_model("llama", **shape(point))
    burnish.train(config, model=model, tokenizer=tiny_tokenizer(False), data=data, observers=[watch])


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context

"""Where the time of a step goes: an observer that profiles a few steps and writes what it saw into the run's folder.

In: the spans of `burnish.batch.spans`, as torch's profiler saw them. Out: RUN/profile/breakdown.json and trace.json.gz, and a
few lines. Knows no model; changes nothing but speed while it looks.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any, get_args

import torch
from torch.profiler import ProfilerActivity, profile

from burnish.batch.spans import PREFIX, Part
from burnish.engine.manifest import write_text
from burnish.engine.run import Run

PARTS: tuple[Part, ...] = get_args(Part)
QUEUED: tuple[Part, ...] = ("forward trunk", "head", "backward", "optimiser")  # what a device works on while the host goes on


class Profiler:
    """Give it to `train` as an observer. skip: steps that warm up first (fewer in a short run); steps: how many count."""

    def __init__(self, skip: int = 1, steps: int = 3) -> None:
        self._skip, self._steps = skip, steps
        self._profile: Any = None
        self._began, self._first, self._last = 0.0, 0, 0

    def run_started(self, run: Run) -> None:
        """Begin at once where nothing is left to warm up with."""
        left = run.num_steps - run.state.step
        self._first = run.state.step + min(self._skip, left - 1)
        self._last = min(self._first + self._steps, run.num_steps)
        if self._first == run.state.step and left:
            self._start()

    def step_finished(self, run: Run, step: Any) -> None:
        """Begin and end between steps."""
        if self._profile is not None and step.step >= self._last:
            self._end(run, step.step - self._first)
        elif self._profile is None and step.step == self._first:
            self._start()

    def run_finished(self, run: Run) -> None:
        """A run that ended early has a profile too."""
        if self._profile is not None:
            self._end(run, run.state.step - self._first)

    def run_stopped(self, run: Run, error: BaseException) -> None:
        """So has one that was interrupted; torch's profiler must not outlive it."""
        self.run_finished(run)

    def _start(self) -> None:
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        self._profile = profile(activities=activities)
        self._profile.start()
        self._began = time.perf_counter()

    def _end(self, run: Run, steps: int) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - self._began
        found, self._profile = self._profile, None
        found.stop()
        if not run.accelerator.is_main_process or not steps:
            return
        folder = run.path / "profile"
        folder.mkdir(exist_ok=True)
        found.export_chrome_trace(str(folder / "trace.json.gz"))
        parts = breakdown(found.events(), seconds, steps)
        written = {"steps": steps, "seconds_per_step": seconds / steps, "parts": parts}
        write_text(folder / "breakdown.json", json.dumps(written, indent=2) + "\n")
        run.progress.say(
            f"profile of {steps} step{'s' if steps > 1 else ''}, {seconds / steps:.3f} s each (profiling slows them a little):",
            *(f"  {name:14}{value:>9.3f} s {value * steps / seconds:>6.1%}" for name, value in parts.items()),
            f"  {folder / 'trace.json.gz'} opens in chrome://tracing and ui.perfetto.dev",
        )


def breakdown(events: Iterable[Any], seconds: float, steps: int) -> dict[str, float]:
    """Seconds of a step by part, and idle, the rest of `seconds`: work between the parts, and waiting.

    On a CPU a part takes as long as its span, without the spans of others in it (a data span in which completions are drawn and
    scored). Where a device ran kernels, the parts that are queued on it take their kernels' time; those of the backward pass
    come from threads of their own, so it has what no other part accounts for.
    """
    spans: list[tuple[float, float, Part, float]] = []
    kernels = 0.0
    for event in events:
        kernels += getattr(event, "self_device_time_total", 0) / 1e6
        for part in PARTS:
            if event.name == PREFIX + part and event.device_type.name == "CPU":
                spans.append((event.time_range.start / 1e6, event.time_range.end / 1e6, part, event.device_time_total / 1e6))
    host: dict[str, float] = dict.fromkeys(PARTS, 0.0)
    device: dict[str, float] = dict.fromkeys(PARTS, 0.0)
    around: list[tuple[float, Part]] = []
    for start, end, part, busy in sorted(spans, key=lambda one: (one[0], -one[1])):
        while around and around[-1][0] <= start:
            around.pop()
        if around:
            host[around[-1][1]] -= end - start
        host[part] += end - start
        device[part] += busy
        around.append((end, part))
    if kernels:
        device["backward"] = max(kernels - sum(device[part] for part in QUEUED if part != "backward"), 0.0)
        host |= {part: device[part] for part in QUEUED}
    parts = {name: value / steps for name, value in host.items()}
    return {**parts, "idle": max(seconds / steps - sum(parts.values()), 0.0)}

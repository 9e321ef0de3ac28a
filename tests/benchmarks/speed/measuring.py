"""What a worker measures of itself: seconds of each step, peak memory, and what this machine's matrix products can do now."""

from __future__ import annotations

import re
import resource
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

# Of the products that time is compared with: so large that they are no faster any larger.
SIDES, REPEATS, LONG_S = {"cpu": 1024, "cuda": 8192}, 3, 0.1


def cpu_seconds() -> float:
    """Of this process and its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Clock:
    """Seconds and CPU seconds between ticks."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self._before: tuple[float, float] | None = None

    def start(self) -> None:
        """Begin to measure; also forgets the peak of memory so far."""
        Path("/proc/self/clear_refs").write_text("5")
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        self._before = time.perf_counter(), cpu_seconds()

    def tick(self) -> None:
        """A step is over."""
        assert self._before is not None
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter(), cpu_seconds()
        self.steps.append({"seconds": now[0] - self._before[0], "cpu_seconds": now[1] - self._before[1]})
        self._before = now


def peak_bytes() -> int:
    """Of resident memory since the clock was started; of CUDA's where there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


def matrix_rate(dtype: torch.dtype) -> float:
    """Floating-point operations per second of products of the form of a block's: on a CPU [2048, 1024] x [1024, 4096], smaller
    where that would take seconds (bfloat16 on a processor without units for it)."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    side, taken = SIDES[device] // 16, 0.0
    while side < SIDES[device] and taken < LONG_S:
        side *= 2
        taken = product_s(side, dtype, device)
    return 16 * side**3 / statistics.median(product_s(side, dtype, device) for _ in range(REPEATS))


def product_s(side: int, dtype: torch.dtype, device: str) -> float:
    """Seconds of [2 side, side] x [side, 4 side], which is 16 side^3 operations."""
    left = torch.randn(2 * side, side, dtype=dtype, device=device)
    right = torch.randn(side, 4 * side, dtype=dtype, device=device)
    if device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    left @ right
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def state_bytes(model: nn.Module) -> int:
    """Weights, and for trained ones a gradient and two moments."""
    return sum(one.numel() * one.element_size() * (4 if one.requires_grad else 1) for one in model.parameters())


def report(clock: Clock, rates: list[float], model: nn.Module, losses: list[float], **further: Any) -> dict[str, Any]:
    """What a worker hands back."""
    return {
        "steps": clock.steps,
        "peak_bytes": peak_bytes(),
        "state_bytes": state_bytes(model),
        "matrix_rate": rates,
        "losses": losses,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        **further,
    }

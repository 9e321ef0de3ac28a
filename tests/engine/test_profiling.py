"""Profiles of runs: parts of a step by hand, and of a real run."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.autograd import DeviceType

import burnish
from burnish.engine.interrupts import Interrupted
from burnish.engine.profiling import PARTS, Profiler, breakdown
from burnish.testing import tiny_model, tiny_tokenizer


def event(name: str, start: float, end: float, device: float = 0.0, kernel: float = 0.0) -> Any:
    """Times in seconds."""
    return SimpleNamespace(
        name=name,
        device_type=DeviceType.CPU,
        time_range=SimpleNamespace(start=start * 1e6, end=end * 1e6),
        device_time_total=device * 1e6,
        self_device_time_total=kernel * 1e6,
    )


def test_parts_are_what_their_spans_took() -> None:
    # Ten seconds of two steps. The data span holds a forward of 1 s, as rollouts do, and nothing is counted twice.
    events = [
        event("burnish/forward trunk", 1, 2),
        event("burnish/data", 0, 3),
        event("burnish/backward", 4, 8),
        event("aten::mm", 4, 8),
    ]
    found = breakdown(events, seconds=10.0, steps=2)
    assert {name: value for name, value in found.items() if value} == {
        "data": 1.0,
        "forward trunk": 0.5,
        "backward": 2.0,
        "idle": 1.5,  # 3 to 4 and 8 to 10
    }


def test_a_device_has_its_own_clock() -> None:
    # The host is through with the forward after 1 s, the device needs 3 s; of 8 s of kernels 5 belong to the backward pass.
    spans = [event("burnish/forward trunk", 0, 1, device=3.0), event("burnish/backward", 1, 2)]
    found = breakdown([*spans, event("kernel", 0, 0, kernel=8.0)], seconds=10.0, steps=1)
    assert (found["forward trunk"], found["backward"], found["idle"]) == (3.0, 5.0, 2.0)


def config_of(folder: Path, steps: int) -> dict[str, Any]:
    return {
        "objective": ["dpo"],
        "reference": {"cache": False},
        "train": {"batch_size": 4, "steps": steps},
        "output": str(folder / "run"),
    }


ROWS = [{"prompt": f"twice {a} is", "chosen": f" {2 * a}", "rejected": " many"} for a in range(12)]


@pytest.mark.parametrize(("steps", "profiled"), [(1, 1), (3, 2), (6, 3)])
def test_a_run_is_profiled(steps: int, profiled: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    burnish.train(config_of(tmp_path, steps), tiny_model(), tiny_tokenizer(chat=False), ROWS, observers=[Profiler()])
    found = json.loads((tmp_path / "run/profile/breakdown.json").read_text())
    assert found["steps"] == profiled
    assert found["parts"].keys() == {*PARTS, "idle"}
    assert sum(found["parts"].values()) == pytest.approx(found["seconds_per_step"])
    assert all(found["parts"][part] > 0 for part in ("data", "layout", "forward trunk", "head", "backward", "optimiser"))
    assert (tmp_path / "run/profile/trace.json.gz").stat().st_size > 0
    assert "profile of" in capfd.readouterr().err


def test_a_run_that_is_interrupted_leaves_its_profile_and_no_profiler(tmp_path: Path) -> None:
    class CtrlC:
        def step_finished(self, run: Any, step: Any) -> None:
            if step.step == 2:
                os.kill(os.getpid(), signal.SIGINT)

    watching = [Profiler(), CtrlC()]
    with pytest.raises(Interrupted):
        burnish.train(config_of(tmp_path, 6), tiny_model(), tiny_tokenizer(chat=False), ROWS, observers=watching)
    assert json.loads((tmp_path / "run/profile/breakdown.json").read_text())["steps"] == 1
    assert not torch.autograd.profiler._is_profiler_enabled

"""Plain lines where there is no terminal, a live line where there is one, silence on other ranks."""

from __future__ import annotations

import io
from itertools import count
from types import SimpleNamespace

import pytest
from rich.console import Console

from burnish.engine import progress as module
from burnish.engine.progress import FIRST_LINES, SILENT_S, Progress

METRICS = {"loss": 1.5, "loss/dpo": 0.5, "loss/sft": 1.0, "learning_rate": 1e-5, "tokens_per_s": 1234.0}


def shown(num_steps: int, *, terminal: bool = False, on: bool = True) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120, quiet=not on)
    with Progress(shown=on, console=console).steps(num_steps) as progress:
        for step in range(1, num_steps + 1):
            progress.step(step, METRICS)
        progress.say("[an alarm]")
        progress.evaluation(num_steps, {"eval/loss": 0.25, "eval/accuracy": 0.75, "eval/margin": 2.0})
    return out.getvalue()


def test_plain_lines_are_few_and_full() -> None:
    lines = shown(50).splitlines()
    assert len(lines) == FIRST_LINES + 1 + 2
    assert lines[0].startswith("step 1/50  loss 1.5000 (dpo 0.5, sft 1)  lr 1.00e-05  1,234 tokens/s")
    assert lines[-2:] == ["[an alarm]", "step 50/50  eval/loss 0.2500  eval/accuracy 0.7500"]


def test_terminal_gets_a_live_bar() -> None:
    text = shown(3, terminal=True)
    assert "3/3" in text
    assert "━" in text


def test_other_ranks_are_silent() -> None:
    assert shown(3, on=False) == ""


@pytest.mark.parametrize("terminal", [False, True])
def test_long_work_between_steps_is_counted(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count(0.0, SILENT_S / 4)  # a quarter of the silence at every look
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    out = io.StringIO()
    with Progress(console=Console(file=out, force_terminal=terminal, width=120)).steps(9, 3) as progress:
        drawn = progress.counting("drawn")
        for done in range(1, 9):
            drawn(done, 8)
            if terminal:
                progress._live.refresh()  # type: ignore[union-attr]
    text = out.getvalue()
    if terminal:
        assert all(f"drawn {done} of 8" in text for done in range(1, 9))
        assert "3/9" in text
    else:
        assert text.splitlines() == ["step 3/9  drawn 4 of 8", "step 3/9  drawn 8 of 8"]

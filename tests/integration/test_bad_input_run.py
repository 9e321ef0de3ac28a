"""What befalls a run: full disks, damage, kills, changes, Ctrl-C. One message, and what was saved stays good."""

from __future__ import annotations

import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
from desk import PAIRS, TEXTS, Desk, same
from killed import NAME, train_until_rename

from burnish.api import train
from burnish.errors import RunError

EVERY_2 = {"every": 2}


@pytest.fixture(autouse=True)
def rows(desk: Desk) -> None:
    desk.rows(TEXTS)


def test_an_output_that_exists(desk: Desk) -> None:
    desk.config()
    desk.run.mkdir()
    desk.write("run/notes.txt", "mine")
    assert desk.refused() == f"output {desk.run} exists and is not empty: move it away, or choose another `output`"
    (desk.run / "notes.txt").unlink()
    desk.works()
    remedy = f"continue it with `burnish resume {desk.run}`, or choose another `output`"
    assert desk.refused() == f"output {desk.run} exists and is not empty: {remedy}"


def test_an_output_that_cannot_be_made(desk: Desk) -> None:
    desk.write("file", "")
    desk.config(output=str(desk.folder / "file" / "run"))
    assert desk.refused().startswith(f"output {desk.folder}/file/run cannot be made: [Errno 20] Not a directory")


@contextmanager
def small_files(limit: int) -> Iterator[None]:
    """Within it, the system writes no file beyond `limit` bytes: as near to a full disk as a process may come by itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_disk_that_fills_up_while_a_checkpoint_is_written(desk: Desk) -> None:
    whole = desk.folder / "whole"
    desk.config(checkpoint=EVERY_2, output=str(whole))
    desk.works()
    desk.config(checkpoint=EVERY_2)
    full = small_files(20_000)  # weights take 37 kB

    class Disk:
        def step_finished(self, run: Any, step: Any) -> None:
            if step.step == 3:
                full.__enter__()

    try:
        with pytest.raises(RunError, match=rf"could not write .*{NAME}: .*What was there before is untouched\."):
            train(desk.file, observers=[Disk()])
    finally:
        full.__exit__(None, None, None)
    assert desk.steps() == ["step-000002"]  # and nothing half written beside it
    assert not (desk.run / "model").exists()
    desk.works("resume", desk.run)
    assert same(desk.weights(), desk.weights(whole))


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_the_rename_of_a_checkpoint(desk: Desk, children: ForkServerContext, when: str) -> None:
    whole = desk.folder / "whole"
    desk.config(checkpoint=EVERY_2, output=str(whole))
    desk.works()
    desk.config(checkpoint=EVERY_2)
    process = children.Process(target=train_until_rename, args=(str(desk.file), when))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert desk.steps() == {"before": ["step-000002", f"{NAME}.partial"], "after": ["step-000002", NAME]}[when]
    told = desk.works("resume", desk.run).err
    assert f"resumed from {desk.run}/checkpoints/{'step-000002' if when == 'before' else NAME}\n" in told
    assert ("all 4 steps are done" in told) is (when == "after")
    assert desk.steps() == ["step-000002", NAME]
    assert same(desk.weights(), desk.weights(whole))


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_checkpoint(desk: Desk, damage: str) -> None:
    desk.config(checkpoint=EVERY_2)
    desk.works()
    trained = desk.weights()
    file = desk.run / "checkpoints" / NAME / "weights.safetensors"
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content[:-1] if damage == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
    message = desk.refused("resume", desk.run)
    assert message.startswith(f"{file} is {'missing' if damage == 'gone' else 'damaged'}")
    assert message.endswith("To go on from the one before: --step 2")
    assert desk.refused("resume", desk.run, "--step", 3).endswith("the steps [2, 4]")
    desk.works("resume", desk.run, "--step", 2)
    assert same(desk.weights(), trained)


def stopped(desk: Desk) -> None:
    """Train, and stop as an observer asks after the second of four steps."""

    class Stop:
        def step_finished(self, run: Any, step: Any) -> str | None:
            if step.step == 2:
                raise KeyError("stop")
            return None

    desk.config(["ipo"], data={"main": {"source": str(desk.rows(PAIRS, "pairs.jsonl"))}})
    with pytest.raises(ValueError, match="observer"):
        train(desk.file, observers=[Stop()])
    assert desk.steps() == ["step-000002"]


def test_a_run_that_goes_on_with_something_else(desk: Desk) -> None:
    stopped(desk)
    refusal = "the run cannot go on exactly, because this changed since its checkpoint:"
    remedy = "go on with it: --allow-changes"
    for options, arguments, change in (
        ([], ["train.steps=5"], r"config: train\.steps: 4 -> 5"),
        (["--no-plugin", "alpaca"], [], r"plugins: alpaca: burnish-alpaca \S+ \S+ -> absent"),
    ):
        message = desk.refused(*options, "resume", desk.run, *arguments)
        assert re.fullmatch(rf"{refusal}\n  {change}\nUndo the change, or {remedy}", message), message
    desk.rows([*PAIRS[:-1], {**PAIRS[-1], "chosen": " none"}], "pairs.jsonl")
    message = desk.refused("resume", desk.run)
    assert re.fullmatch(rf"{refusal}\n  data: main: \S+ -> \S+\nUndo the change, or {remedy}", message), message
    told = desk.works("resume", desk.run, "train.steps=5", "--allow-changes").err
    assert "changed since the checkpoint: config: train.steps: 4 -> 5\n" in told
    assert "changed since the checkpoint: data: main: " in told
    assert "step 5/5" in told


def test_a_cache_that_cannot_be_written(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = desk.folder / "cached"
    desk.rows(PAIRS)
    desk.config(["dpo"], output=str(cached))
    desk.works()
    (tmp_path / "no-folder").write_text("")
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "no-folder" / "cache"))
    desk.config(["dpo"])
    told = desk.works().err
    assert told.count("warning: tokens cannot be cached in ") == 1
    assert "Set BURNISH_CACHE to another folder, or render.cache to false\n" in told
    assert told.count("warning: the cache of log-probabilities at ") == 1
    assert "UserWarning" not in told
    assert same(desk.weights(), desk.weights(cached))


SLOW = """
import sys, time
from burnish.engine.step import StepRunner
run = StepRunner.run
StepRunner.run = lambda self, *given, **named: (time.sleep(0.05), run(self, *given, **named))[1]
from burnish.cli.main import app
app(sys.argv[1:], prog_name="burnish")
"""


def test_ctrl_c_saves_says_how_to_go_on_and_nothing_is_noisy(desk: Desk) -> None:
    whole = desk.folder / "whole"
    desk.config(train={"steps": 40}, output=str(whole))
    desk.works()
    desk.config(train={"steps": 40})
    command = [sys.executable, "-c", SLOW, "train", str(desk.file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines = [next(process.stderr) for _ in range(3)]
    process.send_signal(signal.SIGINT)
    out, rest = process.communicate(timeout=300)
    assert process.returncode == 130
    assert out == ""
    # Rows, two steps, and what Ctrl-C did: no bars, no warnings of libraries, no traceback.
    assert [line.split()[0] for line in lines] == ["main:", "step", "step"]
    told = [line for line in rest.splitlines() if line and not line.startswith("step ")]
    (step,) = desk.steps()
    assert told == [
        "stopping after this step, which is saved; once more ends the process at once",
        f"stopped after step {int(step[-6:])}: `burnish resume {desk.run}` goes on from there",
    ]
    desk.works("resume", desk.run)
    assert same(desk.weights(), desk.weights(whole))

"""The reward: programs judged by unit tests. In: completions and the rows' tests. Out: one number each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from burnish.rollout.prompts import text_of
from burnish_code.programs import COLUMNS, program_in, read_tests
from burnish_code.sandbox import Isolation, Sandbox, isolation_here


@dataclass(frozen=True, kw_only=True)
class Code:
    """1 where the program in a completion passes the row's unit tests, else 0; None for a row without tests.

    The program is the last fenced block of a completion, or all of it. Tests stand in a column `tests` (statements such as
    `assert f(1) == 2`, or mappings with `input` and `output`), or in the columns of MBPP (`test_list`, `test_setup_code`) or of
    HumanEval (`test`, `entry_point`). Programs run in a sandbox, several at a time; one that breaks a limit has not passed.
    Where no sandbox can be had, making the reward fails: nothing is run unguarded.
    Statements run in the same interpreter as the program, so one that is out to deceive can: where that matters, test by input
    and output, which are compared outside.
    """

    score: Literal["all", "share"] = "all"
    """`all`: 1 if every test passes. `share`: the part of them that does."""
    time_limit: float = 5.0
    """Seconds of the processor that each of its processes may take, and a third of the seconds of the clock; above 0."""
    memory_mb: int = 512
    """Of each process; at least 64."""
    processes: int = 4
    """That run at once, threads among them; at least 1. Where only Landlock is there, always 1 and its threads."""
    isolation: Literal["auto", "namespaces", "landlock"] = "auto"
    """What shuts a program in: the first that works here, or one of them."""

    def __post_init__(self) -> None:
        for name, least in (("memory_mb", 64), ("processes", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not self.time_limit > 0:
            raise ValueError(f"time_limit must be above 0, got {self.time_limit}")
        if self.score not in ("all", "share"):
            raise ValueError(f"score must be 'all' or 'share', got {self.score!r}")
        if self.isolation not in ("auto", "namespaces", "landlock"):
            raise ValueError(f"isolation must be 'auto', 'namespaces' or 'landlock', got {self.isolation!r}")
        self._sandbox()

    def __call__(self, completions: Sequence[Any], **columns: Sequence[Any]) -> list[float | None]:
        """One number per completion. completions: texts, or conversations whose last message counts."""
        read = {name: columns[name] for name in COLUMNS if name in columns}
        rows = [{name: values[place] for name, values in read.items()} for place in range(len(completions))]
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            return list(pool.map(self._judged, completions, rows))

    def _judged(self, said: Any, row: dict[str, Any]) -> float | None:
        tests = read_tests(row)
        if tests is None:
            return None
        passed = tests.passed(program_in(text_of(said)), self._sandbox(), all_or_nothing=self.score == "all")
        return float(passed == len(tests)) if self.score == "all" else passed / len(tests)

    def _sandbox(self) -> Sandbox:
        asked: Isolation | None = None if self.isolation == "auto" else self.isolation
        return Sandbox(
            isolation=isolation_here(asked), time_limit=self.time_limit, memory_mb=self.memory_mb, processes=self.processes
        )

"""What came of the checks: a table for people, an AssertionError for tests. Knows no check."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from io import StringIO
from typing import Literal

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

Profile = Literal["fast", "full"]
WIDTH = 110


@dataclass(frozen=True)
class Result:
    """One check. message: what was found, when it failed. example: the smallest rows on which it fails, where rows matter.
    cause: what usually is the reason."""

    name: str
    passed: bool
    message: str = ""
    example: str = ""
    cause: str = ""


@dataclass(frozen=True)
class Report:
    """All checks of one subject, such as `loss ipo`."""

    subject: str
    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        """Whether there were checks, and every one passed."""
        return bool(self.results) and not self.failures

    @property
    def failures(self) -> tuple[Result, ...]:
        """The checks that did not pass."""
        return tuple(result for result in self.results if not result.passed)

    def __rich__(self) -> RenderableType:
        return table([self])

    def __str__(self) -> str:
        console = Console(file=StringIO(), width=WIDTH, color_system=None)
        with console.capture() as capture:
            console.print(self)
        return "\n".join(line.rstrip() for line in capture.get().splitlines())

    def raise_for_failures(self) -> None:
        """AssertionError with the table, unless every check passed."""
        if not self.ok:
            raise AssertionError(f"{self.subject}: {len(self.failures)} of {len(self.results)} checks failed\n{self}")


def table(reports: Iterable[Report]) -> RenderableType:
    """One line a check that failed, with all that is known of it; one line for the checks of a subject that passed."""
    rows = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    rows.add_column(no_wrap=True)
    rows.add_column(no_wrap=True)
    rows.add_column(overflow="fold")
    for report in reports:
        passed = [result.name for result in report.results if result.passed]
        for result in report.failures:
            rows.add_row(Text(report.subject), Text("FAILED", style="red"), _told(result))
        if passed:
            rows.add_row(Text(report.subject), Text("passed", style="green"), Text(f"{len(passed)}: {', '.join(passed)}"))
    return rows


def _told(result: Result) -> RenderableType:
    lines = [Text(f"{result.name}: {result.message}")]
    if result.example:
        lines.append(Text(f"smallest failing example: {result.example}"))
    if result.cause:
        lines.append(Text(f"usually: {result.cause}"))
    return Group(*lines)

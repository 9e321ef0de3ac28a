"""What came of the checks: a table for people, an AssertionError for tests. Knows no check."""

from __future__ import annotations

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
        return table(self)

    def __str__(self) -> str:
        console = Console(file=StringIO(), width=WIDTH, color_system=None)
        with console.capture() as capture:
            console.print(self)
        return "\n".join(line.rstrip() for line in capture.get().splitlines())

    def raise_for_failures(self) -> None:
        """AssertionError with the table, unless every check passed."""
        if not self.ok:
            raise AssertionError(f"\n{self}")


def table(report: Report) -> RenderableType:
    """Each check that failed with all that is known of it, then those that passed."""
    num_failed, num_checks = len(report.failures), len(report.results)
    said = f"{num_failed} of {num_checks} checks failed" if num_failed else f"{num_checks} checks passed"
    rows = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    rows.add_column(no_wrap=True)
    rows.add_column(overflow="fold")
    for result in report.failures:
        rows.add_row(Text(f"  {result.name}", style="red"), _told(result))
    passed = [result.name for result in report.results if result.passed]
    rows.add_row(Text("  passed", style="green"), Text(", ".join(passed) or "none"))
    return Group(Text(f"{report.subject}: {said}", style="bold"), rows)


def _told(result: Result) -> RenderableType:
    lines = [Text(result.message)]
    if result.example:
        lines.append(Text(f"smallest failing example: {result.example}"))
    if result.cause:
        lines.append(Text(f"usually: {result.cause}"))
    return Group(*lines)

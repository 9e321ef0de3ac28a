"""What the programs that show learning share: their arguments, and a table that is printed and written row by row."""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import burnish


class Named(Protocol):
    """A case, chosen by its name."""

    @property
    def name(self) -> str: ...


Case = TypeVar("Case", bound=Named)


def show(
    about: str, columns: Sequence[str], cases: Sequence[Case], rows: Callable[[Case, Path, range], Iterator[Sequence[object]]]
) -> None:
    """Reads the command line, runs the chosen cases and prints each row as it comes. rows: the rows of a case, given the
    folder of the data and the seeds. An interrupted program has written the rows that it printed."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the shared data sets")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="run only the cases whose name contains this")
    parser.add_argument("--write", type=Path, help="Markdown file to write the table to")
    arguments = parser.parse_args()
    table = [line(columns), line(["---"] * len(columns))]
    print("\n".join(table), flush=True)
    for case in cases:
        if arguments.only in case.name:
            for row in rows(case, arguments.data, range(arguments.seeds)):
                table.append(line(row))
                print(table[-1], flush=True)
                if arguments.write:
                    write(arguments.write, about, table)


def line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def write(path: Path, about: str, table: list[str]) -> None:
    machine = f"{platform.processor() or platform.machine()}, burnish {burnish.__version__}, {time.strftime('%Y-%m-%d')}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{about}\n{machine}\n\n" + "\n".join(table) + "\n", encoding="utf-8")

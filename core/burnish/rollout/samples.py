"""Completions for people to read: a table in the terminal, and all of them in a Parquet file.

In: trajectories with rewards and advantages. Out: rows of text and numbers. Nothing of it is read back by a run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from burnish.rollout.selection import texts
from burnish.rollout.trajectory import Trajectory

if TYPE_CHECKING:
    from burnish.config.sections import SamplesSection

SHOWN = 400  # characters of a text in the table; the file has all


@dataclass(frozen=True)
class Samples:
    """Shows and keeps completions as the config says. folder: of the files. tells: prints a table."""

    section: SamplesSection
    folder: Path
    tokenizer: Any
    tells: Callable[..., None]

    def __call__(self, number: int, trajectories: Sequence[Trajectory]) -> None:
        """Those of rollout batch `number`."""
        section = self.section
        if number % section.every or not (section.show or section.keep):
            return
        ordered = sorted(trajectories, key=lambda one: (one.origin.group, one.origin.member))
        if section.show:
            self.tells(table([row_of(one, self.tokenizer) for one in ordered[: section.show]], number))
        if section.keep:
            self._keep([row_of(one, self.tokenizer) for one in ordered], number)

    def _keep(self, rows: Sequence[dict[str, Any]], number: int) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        names = dict.fromkeys(name for row in rows for name in row)
        columns = {name: [row.get(name) for row in rows] for name in names}
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{number:06d}.parquet"
        beside = path.with_suffix(".partial")
        parquet.write_table(pa.table({name: _column(values) for name, values in columns.items()}), beside)
        beside.replace(path)


def row_of(one: Trajectory, tokenizer: Any) -> dict[str, Any]:
    """What there is to say of a completion. advantage: the mean over its tokens; other columns are what rewards logged."""
    prompt, completion = texts(one, tokenizer)
    advantages = one.tokens.get("advantages")
    return {
        "source": one.origin.source,
        "row": one.origin.row,
        "group": one.origin.group,
        "member": one.origin.member,
        "prompt": prompt,
        "completion": completion,
        "tokens": one.length,
        "outcome": one.outcome,
        "reward": one.reward if one.rewards else None,
        "advantage": None if advantages is None else float(advantages[one.own].mean()),
        "error": one.error or None,
        **{f"rewards/{name}": value for name, value in one.rewards.items()},
        **one.columns,
    }


def table(rows: Sequence[dict[str, Any]], number: int) -> Table:
    """A table for the terminal; long texts are cut."""
    found = Table(title=f"rollout batch {number}", show_lines=True)
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name.startswith("rewards/")]
    for name in ("prompt", "completion", "outcome", *(name.removeprefix("rewards/") for name in names), "reward", "advantage"):
        found.add_column(name)
    for row in rows:
        numbers = [row.get(name) for name in (*names, "reward", "advantage")]
        cells = [_cut(row["prompt"]), _cut(row["completion"]), row["outcome"], *map(_number, numbers)]
        found.add_row(*cells)
    return found


def _cut(text: str) -> Any:
    from rich.text import Text  # what a model writes is no markup

    return Text(text if len(text) <= SHOWN else text[: SHOWN // 2] + " ... " + text[-SHOWN // 2 :])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _column(values: list[Any]) -> Any:
    """A column of one type; what rewards logged may be of several, and is then written as JSON."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return pa.array([json.dumps(value, ensure_ascii=False, default=str) for value in values])

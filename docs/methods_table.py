"""The table of README.md that says what the packages of this repository provide: `python docs/methods_table.py` writes it anew.

In: the installed registry. Out: lines of Markdown, each name with a link to its package's page. A test compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from burnish.registry import RECORD_HOOKS, LossRecord, Record, Registry, load

ROOT = Path(__file__).resolve().parents[1]
PLACE = re.compile(r"(?<=<!-- methods -->\n).*?(?=\n<!-- /methods -->)", re.DOTALL)
LOSSES = {
    "sequence": "any text or answer",
    "preference": "pairs of answers",
    "triple": "pairs and a gold answer",
    "ranked": "ranked answers",
    "rated": "rated answers",
    "unpaired": "answers liked or not",
    "stepwise": "steps right or wrong",
    "trajectory": "what a sampler wrote",
}
"""The data that losses couple, in the words of a newcomer."""


def table(registry: Registry) -> str:
    """The table, without a line break at its end."""
    rows = [f"| {title} | {', '.join(names)} |" for title, names in _rows(registry) if names]
    return "\n".join(["| | |", "|---|---|", *rows])


def _rows(registry: Registry) -> Iterator[tuple[str, list[str]]]:
    for data, words in LOSSES.items():
        losses = [record for record in registry.records(LossRecord) if record.data == data]
        yield f"losses on {words}", _linked(registry, losses)
    for kind in RECORD_HOOKS.values():
        if kind is not LossRecord:
            yield f"{kind.word}s", _linked(registry, registry.records(kind))


def _linked(registry: Registry, records: Iterable[Record]) -> list[str]:
    """Those of packages that lie in this repository; what the core brings has no page of its own."""
    found = []
    for record in records:
        folder = registry.provider(record).distribution.replace("_", "-").removeprefix("burnish-")
        if (ROOT / "plugins" / folder / "README.md").is_file():
            found.append(f"[{record.name}](plugins/{folder}/README.md)")
        elif folder == "burnish":
            found.append(record.name)
    return found


if __name__ == "__main__":
    readme = ROOT / "README.md"
    given = readme.read_text(encoding="utf-8")
    readme.write_text(PLACE.sub(lambda _: table(load()), given), encoding="utf-8")

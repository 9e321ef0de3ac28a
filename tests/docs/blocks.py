"""Finds the fenced blocks of a Markdown page and says how each is to be run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```\s*$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^# (?P<name>[\w./-]+\.(?:py|yaml|toml|jsonl|md))\n")


@dataclass(frozen=True)
class Block:
    """One fenced block. language: first word after the fence; words: the others; name: the file that a first-line comment names."""

    page: Path
    line: int
    language: str
    words: tuple[str, ...]
    body: str

    @property
    def name(self) -> str | None:
        match = FILE.match(self.body)
        return match["name"] if match else None


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order; indentation of the fence is removed from the body."""
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        language, *words = match["info"].split() or [""]
        indent = match["indent"]
        body = "".join(line.removeprefix(indent) for line in match["body"].splitlines(keepends=True))
        yield Block(page, text.count("\n", 0, match.start()) + 1, language, tuple(words), body)

"""Every block of the documentation runs.

A page is one session in a fresh folder that holds a tiny model `tiny-model` and small data files. Blocks in order:
`python` runs in one interpreter namespace a page (or is saved, when its first line is `# name.py`), `yaml` is a configuration
that must load (saved under its first-line name), `bash` runs line by line. `text`, `jsonl`, `toml` and named files are saved or
shown only; `bash install` is what CI itself does at its start. A page that says `pip` gets a virtual environment of its own,
which its `bash` blocks see and its `python` blocks do not. `burnish` and `pytest` are forks of one process (`forking.py`).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHOWN = {"bibtex", "text", "console", "mermaid", "", "jsonl", "toml"}

FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```\s*$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^# (?P<name>[\w./-]+\.(?:py|yaml|toml|jsonl|md))\n")


@dataclass(frozen=True)
class Block:
    """One fenced block. language: first word after the fence; words: the others; name: file named in its first line."""

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


def pages() -> list[Path]:
    places = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *ROOT.glob("plugins/*/README.md")]
    return [page for page in sorted(places) if any(block.language not in SHOWN for block in blocks(page))]


def commands(bin: Path) -> dict[str, str]:
    """An environment whose commands are those in `bin`, and whose pip takes nothing from a network."""
    pip = {"PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1", "PIP_QUIET": "1"}
    path = f"{bin}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return os.environ | pip | {"OMP_NUM_THREADS": "1", "PATH": path, "COLUMNS": "120"}


def run_bash(block: Block, folder: Path, environment: dict[str, str]) -> None:
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.body], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"{block.page}:{block.line}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"


def run_block(block: Block, folder: Path, namespace: dict[str, object], environment: dict[str, str]) -> None:
    if block.name:
        target = folder / block.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(block.body, encoding="utf-8")
    if block.language == "python" and not block.name:
        exec(compile("\n" * block.line + block.body, str(block.page), "exec"), namespace)
    elif block.language == "yaml" and "partial" not in block.words:
        from burnish.config import load_config
        from burnish.registry import load

        path = folder / (block.name or "block.yaml")
        path.write_text(block.body, encoding="utf-8")
        load_config(path, registry=load())
    elif block.language == "bash" and "install" not in block.words:
        run_bash(block, folder, environment)
    else:
        assert block.language in SHOWN | {"python", "yaml", "bash"}, (
            f"{block.page}:{block.line}: no way to run '{block.language}'"
        )


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_page_runs(
    page: Path, docs_folder: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(docs_folder)
    monkeypatch.syspath_prepend(str(docs_folder))
    namespace: dict[str, object] = {"__name__": "__docs__"}
    if any("pip " in block.body for block in blocks(page) if block.language == "bash" and "install" not in block.words):
        bin = request.getfixturevalue("docs_environment") / "bin"
    else:
        bin = request.getfixturevalue("docs_commands")
    environment = commands(bin)
    for block in blocks(page):
        if block.name and block.name.endswith(".py"):  # another page, or a test, may have imported a module of that name
            monkeypatch.delitem(sys.modules, Path(block.name).stem, raising=False)
        run_block(block, docs_folder, namespace, environment)

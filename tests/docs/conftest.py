"""The folder in which a page of the documentation runs: a tiny model and a few rows of each kind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import forking

PAIRS = [
    {"prompt": f"What is {a} + {b}?", "chosen": f" {a + b}", "rejected": f" {a + b + 1}"}
    for a in range(1, 6)
    for b in range(1, 5)
]
CHATS = [
    {"messages": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["chosen"].strip()}]}
    for row in PAIRS
]
MARKED = [
    {"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"}
    for row in PAIRS
    for side in ("chosen", "rejected")
]


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def docs_folder(tmp_path: Path) -> Path:
    """A fresh folder with `tiny-model/`, `pairs.jsonl`, `chats.jsonl` and `marked.jsonl`."""
    from burnish.testing import tiny_model, tiny_tokenizer

    tiny_model("llama").save_pretrained(tmp_path / "tiny-model")
    tiny_tokenizer().save_pretrained(tmp_path / "tiny-model")
    write_rows(tmp_path / "pairs.jsonl", list(PAIRS))
    write_rows(tmp_path / "chats.jsonl", list(CHATS))
    write_rows(tmp_path / "marked.jsonl", list(MARKED))
    return tmp_path


@pytest.fixture(scope="session")
def forks() -> Iterator[Path]:
    """Where commands are asked for that need not import everything again."""
    with tempfile.TemporaryDirectory() as folder:  # a socket's path is short
        address = Path(folder) / "forks"
        command = [sys.executable, forking.__file__, str(address)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"}) as server:
            while server.poll() is None and not address.is_socket():
                time.sleep(0.05)
            yield address


@pytest.fixture(scope="session")
def docs_commands(forks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of pages that install nothing."""
    folder = tmp_path_factory.mktemp("commands")
    forking.write_scripts(folder, forks, "burnish", "pytest")
    return folder


@pytest.fixture
def docs_environment(forks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that sees this one's packages, for pages that install one. `bin/` holds the commands they use."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", folder], check=True)
    [site] = folder.glob("lib/python*/site-packages")
    # What this environment itself has, were it a virtual one too: the option above sees only the system's.
    (site / "outer.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    forking.write_scripts(folder / "bin", forks, "burnish", "pytest", executable=f"{folder}/bin/python", packages=str(site))
    pip = folder / "bin/pip"
    pip.write_text(f'#!/bin/sh\nexec "{folder}/bin/python" -m pip "$@"\n')
    pip.chmod(0o755)
    return folder

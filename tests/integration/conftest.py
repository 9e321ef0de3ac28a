"""What a user has before the first mistake: a tiny model on disk and an empty folder."""

from __future__ import annotations

import multiprocessing
import sys
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from burnish.testing import tiny_model, tiny_tokenizer

sys.path.insert(0, str(Path(__file__).parent))  # tests and child processes import modules that lie here

from desk import Desk


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with a chat tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_model("llama").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def desk(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """An empty folder, which is the working directory, and a cache of its own beside it."""
    folder = tmp_path / "desk"
    folder.mkdir()
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(folder)
    return Desk(folder, model_folder, monkeypatch)


@pytest.fixture(scope="session")
def children() -> ForkServerContext:
    """Processes that are forked from one that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["burnish.api"])
    return context

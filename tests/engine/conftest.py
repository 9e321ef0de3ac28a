"""What a run of the engine needs, tiny: a model on disk, a config, child processes."""

from __future__ import annotations

import multiprocessing
import sys
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

from burnish.testing import tiny_model, tiny_tokenizer

sys.path.insert(0, str(Path(__file__).parent))  # child processes import modules that lie here

from runs import PAIRS, TEXTS, MakeConfig, merged, write_rows


@pytest.fixture(scope="session")
def children() -> ForkServerContext:
    """Processes that are forked from one that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["burnish.api"])
    return context


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with a chat tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_model("llama").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def make_config(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeConfig:
    """A function of changes: the config of a DPO run of six steps, three to an epoch, writing to `tmp_path / "run"`."""
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    pairs = write_rows(tmp_path / "pairs.jsonl", PAIRS)
    write_rows(tmp_path / "texts.jsonl", TEXTS)

    def make(**changes: Any) -> dict[str, Any]:
        base = {
            "model": {"name": str(model_folder)},
            "data": {"main": {"source": pairs}},
            "objective": [{"dpo": {"beta": 0.1}}],
            "train": {"batch_size": 8, "steps": 6},
            "optimizer": {"lr": 0.01},
            "output": str(tmp_path / "run"),
        }
        return merged(base, changes)

    return make

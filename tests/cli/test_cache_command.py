"""`burnish cache`: what is kept, and clearing it by part and by size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from burnish.cli.main import app
from burnish.data.cache import cache_folder, store
from burnish.model.cache import LogpCache


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a cache."""
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def typed(*words: str) -> str:
    result = CliRunner().invoke(app, ["cache", *words])
    assert result.exit_code == 0, result.output
    return result.stdout


def fill(folder: Path) -> None:
    for key in ("one", "two"):
        store(cache_folder(), key, pa.table({"row": list(range(1000))}), {})
    LogpCache(folder).put("model", {"a": np.zeros(250, np.float32), "b": np.zeros(250, np.float32)})


def test_an_empty_cache_is_shown_and_not_made(folder: Path) -> None:
    assert "0 tokenised sources" in typed("show")
    assert "logps   none" in typed("clear")
    assert not folder.exists()


def test_what_is_kept_is_shown_and_cleared_by_part(folder: Path) -> None:
    fill(folder)
    shown = typed("show")
    assert str(folder) in shown
    assert "2 tokenised sources, " in shown
    assert "2 sequences of 1 models, 2 kB, last used " in shown
    assert "at most 8.0 GB are kept (BURNISH_CACHE_LIMIT)" in shown
    cleared = typed("clear", "logps")
    assert "0 sequences" in cleared
    assert "2 tokenised sources" in cleared
    assert "0 tokenised sources" in typed("clear")


def test_trimming_forgets_the_oldest(folder: Path) -> None:
    fill(folder)
    trimmed = typed("trim", "1.5kB", "logps")
    assert "1 sequences of 1 models, 1 kB" in trimmed
    assert "2 tokenised sources" in trimmed
    assert "1 tokenised sources" in typed("trim", "10kB", "tokens")


def test_no_size(folder: Path) -> None:
    result = CliRunner().invoke(app, ["cache", "trim", "much"])
    assert result.exit_code == 2
    assert "'much' is no size; write it like 500MB" in result.stderr

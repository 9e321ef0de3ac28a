"""A run directory belongs to one run and one writer."""

from __future__ import annotations

from pathlib import Path

import pytest

from burnish.engine.rundir import RunDirectory
from burnish.errors import RunError


def test_existing_output_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty: move it away"):
        RunDirectory(tmp_path).create()
    assert (tmp_path / "notes.txt").read_text() == "mine"
    (tmp_path / "run.yaml").write_text("")
    with pytest.raises(RunError, match="burnish resume"):
        RunDirectory(tmp_path).create()


def test_one_writer(tmp_path: Path) -> None:
    first, second = RunDirectory(tmp_path / "run"), RunDirectory(tmp_path / "run")
    first.create()
    first.lock()
    with pytest.raises(RunError, match="being written by process"):
        second.lock()
    first.unlock()
    second.create()  # a lock alone is no run
    second.lock()
    second.unlock()


def test_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run"):
        RunDirectory(tmp_path).require()


def test_a_run_that_did_nothing_leaves_nothing(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.create()
    directory.lock()
    directory.config.write_text("written before the first step")
    directory.unlock()
    assert not directory.path.exists()
    directory.create()
    directory.lock()
    directory.metrics.write_text("{}\n")
    directory.unlock()
    assert directory.metrics.exists()


def test_a_directory_that_was_there_stays(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.create()
    directory.lock()
    directory.unlock()
    assert tmp_path.exists()


def test_a_path_that_cannot_be_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"output .*file/run cannot be made: .*; choose another `output`"):
        RunDirectory(tmp_path / "file" / "run").create()

"""A folder is whole or absent, and damage is named."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from burnish.engine.manifest import MANIFEST, remove_folder, verify_folder, write_folder, write_text
from burnish.errors import RunError


def fill(folder: Path) -> None:
    (folder / "weights").write_bytes(b"\x00" * 1000)
    (folder / "deep").mkdir()
    (folder / "deep" / "state.json").write_text("{}")


def test_written_folder_verifies(tmp_path: Path) -> None:
    write_folder(tmp_path / "made", fill)
    verify_folder(tmp_path / "made")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made"]


@pytest.mark.parametrize("name", ["weights", "deep/state.json", MANIFEST])
def test_damage_is_named(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path / "made", fill)
    file = tmp_path / "made" / name
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(RunError, match=f"{name} is damaged"):
        verify_folder(tmp_path / "made")


def test_missing_file_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path / "made", fill)
    (tmp_path / "made" / "weights").unlink()
    with pytest.raises(RunError, match="weights is missing"):
        verify_folder(tmp_path / "made")


def test_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    def run_out(folder: Path) -> None:
        fill(folder)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(RunError, match=r"No space left on device.*before is untouched"):
        write_folder(tmp_path / "made", run_out)
    assert list(tmp_path.iterdir()) == []


def test_crash_before_rename_leaves_the_name_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        """Stands for SIGKILL: no handler runs."""

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", die)
        with pytest.raises(Killed):
            write_folder(tmp_path / "made", fill)
    assert not (tmp_path / "made").exists()
    write_folder(tmp_path / "made", fill)  # the leftover is in nobody's way
    verify_folder(tmp_path / "made")


def test_remove_is_complete(tmp_path: Path) -> None:
    write_folder(tmp_path / "made", fill)
    remove_folder(tmp_path / "made")
    remove_folder(tmp_path / "made")
    assert list(tmp_path.iterdir()) == []


def test_write_text_replaces_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "one")
    write_text(tmp_path / "file", "two")
    assert (tmp_path / "file").read_text() == "two"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_there_is_replaced_whole_or_kept(tmp_path: Path) -> None:
    def replace(folder: Path) -> None:
        (folder / "other").write_text("new")

    def fail(folder: Path) -> None:
        replace(folder)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_folder(tmp_path / "made", fill)
    with pytest.raises(RunError, match="No space left"):
        write_folder(tmp_path / "made", fail)
    verify_folder(tmp_path / "made")
    write_folder(tmp_path / "made", replace)
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == [MANIFEST, "other"]
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_text_that_cannot_be_written_leaves_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_text(tmp_path / "file", "one")
    monkeypatch.setattr(os, "fsync", run_out)
    with pytest.raises(RunError, match=r"could not write .*file: .*No space left on device.*before is untouched"):
        write_text(tmp_path / "file", "two")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["one"]

"""Folders of weights: gone with their owner, also one that is killed, and never before."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from burnish_vllm.backend import VLLM
from burnish_vllm.owned import BOOT, OWNER, OwnFolder, remove_left
from conftest import Start, weights_of

pytestmark = pytest.mark.skipif(not BOOT.exists(), reason="only Linux tells one start of the system from another")
MAKES = """
import sys, time
from pathlib import Path
from burnish_vllm.owned import OwnFolder

own = OwnFolder(Path(sys.argv[1]))
(own.path / "weights").write_text("many")
print(own.path, flush=True)
time.sleep(600)
"""


def dead_in(parent: Path, system: str | None = None) -> Path:
    """As an owner that was killed leaves it."""
    folder = Path(tempfile.mkdtemp(prefix="burnish-vllm-", dir=parent))
    (folder / OWNER).write_text(BOOT.read_text().strip() if system is None else system)
    (folder / "deep").mkdir()
    (folder / "deep" / "weights").write_text("many")
    return folder


def test_what_a_killed_process_leaves(tmp_path: Path) -> None:
    """Is removed when the next one begins, and nothing of one that lives."""
    made = [subprocess.Popen([sys.executable, "-c", MAKES, str(tmp_path)], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        killed, alive = (Path(str(process.stdout and process.stdout.readline()).strip()) for process in made)
        made[0].kill()
        made[0].wait()
        assert (killed / "weights").exists()
        own = OwnFolder(tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted([own.path, alive])
        assert (alive / "weights").exists()
    finally:
        for process in made:
            with process:
                process.kill()
    remove_left(tmp_path)
    assert list(tmp_path.iterdir()) == [own.path]  # of a living one in the same process


def test_it_goes_with_its_object(tmp_path: Path) -> None:
    """Closed or forgotten, but not with a process that was forked."""
    one, other = OwnFolder(tmp_path / "new"), OwnFolder(tmp_path / "new", private=True)
    assert (other.path.stat().st_mode & 0o77, one.path.stat().st_mode & 0o500) == (0, 0o500)
    one.remove()
    assert list((tmp_path / "new").iterdir()) == [other.path]
    if child := os.fork():
        os.waitpid(child, 0)
    else:
        other.remove()
        os._exit(0)
    assert other.path.exists()
    del other
    assert not list((tmp_path / "new").iterdir())


def test_what_is_not_known_to_be_dead_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another machine on the same disk, of one that has no lock, of another user, and what only looks like one."""
    parent = tmp_path / "exchange"
    parent.mkdir()
    dead_in(parent, system="another one")
    dead_in(parent, system="")
    (parent / "burnish-vllm-new").mkdir()
    (parent / "burnish-vllm-file").write_text("")
    elsewhere = dead_in(tmp_path)
    (parent / "burnish-vllm-link").symlink_to(elsewhere)
    before = sorted(parent.rglob("*"))
    remove_left(parent)
    assert sorted(parent.rglob("*")) == before
    assert (elsewhere / "deep" / "weights").exists()
    theirs = dead_in(parent)
    monkeypatch.setattr("os.getuid", lambda: -1)
    remove_left(parent)
    assert theirs.exists()


def test_a_removal_that_fails_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark of the owner goes last."""
    folder = dead_in(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr("shutil.rmtree", lambda *_, **__: (_ for _ in ()).throw(PermissionError("busy")))
        remove_left(tmp_path)
    assert (folder / OWNER).exists()
    remove_left(tmp_path)
    assert not folder.exists()


@pytest.mark.parametrize("named", [True, False], ids=["named folder", "temporary"])
def test_an_update_removes_what_others_have_left(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    """The first, and every one after it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    options: dict[str, Any] = {"folder": str(tmp_path)} if named else {}
    backend = VLLM(servers=[start().url], dtype="float32", **options)

    async def session() -> None:
        for version in range(2):
            left = dead_in(tmp_path)
            await backend.update(version, weights_of(1))
            assert not left.exists()
        assert len(list(tmp_path.iterdir())) == 1
        await backend.close()

    asyncio.run(session())
    assert not list(tmp_path.iterdir())

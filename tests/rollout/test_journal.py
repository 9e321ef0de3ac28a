"""The journal: written once, read back to the bit, never taken for whole when it is not."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from played import trajectory

from burnish.errors import RunError
from burnish.rollout.journal import Journal, _hash
from burnish.rollout.trajectory import Trajectory


def same(one: Trajectory, other: Trajectory) -> bool:
    arrays = ("ids", "own", "versions")
    return (
        all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)
        and one.tokens.keys() == other.tokens.keys()
        and all(np.array_equal(one.tokens[name], other.tokens[name]) for name in one.tokens)
        and all(getattr(one, name) == getattr(other, name) for name in ("origin", "outcome", "reward", "said", "error"))
        and all(dict(getattr(one, name)) == dict(getattr(other, name)) for name in ("rewards", "notes", "columns", "logged"))
    )


def test_what_is_written_is_read_to_the_bit(tmp_path: Path) -> None:
    first = replace(trajectory(0, 0, [5, 6, 7], logps=[-0.1, -1 / 3, -2.5]), rewards={"a": 0.1, "b": None}, reward=0.1)
    second = replace(trajectory(1, 0, [8]).with_tokens(old=np.array([0, 0, -0.7], np.float32)), outcome="timeout")
    journal = Journal(tmp_path)
    path = journal.append(3, [first, second])
    found = journal.read(3)
    assert found is not None
    assert all(same(one, other) for one, other in zip(found, [first, second], strict=True))
    assert journal.read(4) is None
    assert journal.numbers() == [3]
    # anyone with Arrow can read it
    table = pa.ipc.open_file(path.read_bytes()).read_all()
    assert table["outcome"].to_pylist() == ["ok", "timeout"]
    assert table["tokens.old"].to_pylist()[0] is None


def test_a_file_that_points_outside_of_itself_is_refused(tmp_path: Path) -> None:
    """Made by somebody else, with the hash in its name: the ids of its second trajectory end a gigabyte on."""
    journal = Journal(tmp_path)
    path = journal.append(0, [trajectory(row, 0, [4] * 5) for row in range(3)])
    content, ends = path.read_bytes(), np.array([0, 1, 2, 3], np.int32) * trajectory(0, 0, [4] * 5).ids.size
    assert content.count(ends.tobytes()) > 1
    hostile = content.replace(ends.tobytes(), np.array([0, ends[1], 2**30, ends[3]], np.int32).tobytes())
    (tmp_path / f"000001-{_hash(hostile)}.arrow").write_bytes(hostile)
    (tmp_path / f"000002-{_hash(b'no')}.arrow").write_bytes(b"no")
    for number in (1, 2):
        with pytest.raises(RunError, match="is no journal that can be read"):
            journal.read(number)


def test_what_is_written_beside_the_numbers_is_read_too(tmp_path: Path) -> None:
    """Of many updates, words of any kind, and what a reward wrote down that JSON has no word for."""
    one = trajectory(0, 0, [5, 6])
    one = replace(
        one,
        versions=np.array([-1, -1, 70_000, 2**31 - 1], np.int32),
        said=({"role": "assistant", "content": "naïve 学"},),
        notes={"turns": 2.0},
        error="RewardError: no",
        columns={"answer": "四", "when": [1, None]},
        logged={"length": 1 / 3},
    )
    journal = Journal(tmp_path)
    journal.append(0, [one, replace(trajectory(1, 0, [7]), columns={"path": Path("a/b")})])
    found = journal.read(0)
    assert found is not None
    assert same(found[0], one)
    assert found[1].columns == {"path": "a/b"}


def test_nothing_is_written_of_tokens_of_which_nothing_was_reported(tmp_path: Path) -> None:
    """Two of the likeliest tokens beside each of the policy's own: null at the prompt, to the bit at the rest."""
    ids = np.array([[-1, -1], [-1, -1], [5, 9], [7, -1]], np.float32)
    logps = np.array([[0, 0], [0, 0], [-0.1, -1 / 3], [-0.0, 0.0]], np.float32)
    one = trajectory(0, 0, [5, 7]).with_tokens(likeliest_ids=ids, likeliest_logps=logps)
    nothing = trajectory(0, 1, [5, 7]).with_tokens(likeliest_ids=np.full_like(ids, -1), likeliest_logps=np.zeros_like(logps))
    journal = Journal(tmp_path)
    table = pa.ipc.open_file(journal.append(0, [one, nothing, trajectory(0, 2, [5])]).read_bytes()).read_all()
    assert table["tokens.likeliest_ids"].to_pylist() == [[None, None, [5, 9], [7, -1]], [[-1, -1]] * 4, None]
    assert table["tokens.likeliest_logps"].to_pylist()[0][:2] == [None, None]
    found = journal.read(0) or []
    assert [name in found[2].tokens for name in ("likeliest_ids", "likeliest_logps")] == [False, False]
    for read, written in zip(found, (one, nothing), strict=False):
        for name in ("likeliest_ids", "likeliest_logps"):
            assert read.tokens[name].tobytes() == written.tokens[name].tobytes()
            assert read.tokens[name].shape == (4, 2)


def test_numbers_are_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number in (7, 2, 11, 0, 9, 4):
        journal.append(number, [trajectory(0, 0, [number])])
    assert journal.numbers() == [0, 2, 4, 7, 9, 11]


def test_a_batch_is_never_written_twice(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(0, [trajectory(0, 0, [1])])
    with pytest.raises(RunError, match="never rewritten"):
        journal.append(0, [trajectory(0, 0, [2])])


def test_a_batch_has_its_name_only_when_it_is_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synced under another name; then it is renamed, and the folder is synced."""
    synced, seen = os.fsync, []

    def watched(descriptor: int) -> None:
        synced(descriptor)
        there = [(path.suffix, path.stat().st_size > 0) for path in tmp_path.iterdir()]
        seen.append(("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file", there))

    monkeypatch.setattr(os, "fsync", watched)
    Journal(tmp_path).append(0, [trajectory(0, 0, [1])])
    assert seen == [("file", [(".partial", True)]), ("folder", [(".arrow", True)])]


def test_what_could_not_be_made_safe_was_never_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError("no space left")

    journal = Journal(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space left"):
            journal.append(0, [trajectory(0, 0, [1])])
    assert (journal.read(0), journal.numbers()) == (None, [])
    journal.forget_after(-1)
    assert not [*tmp_path.iterdir()]
    journal.append(0, [trajectory(0, 0, [1])])
    assert journal.numbers() == [0]


@pytest.mark.parametrize("harm", ["cut", "changed"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, harm: str) -> None:
    journal = Journal(tmp_path)
    path = journal.append(0, [trajectory(0, 0, [1, 2, 3])])
    content = bytearray(path.read_bytes())
    if harm == "cut":
        content = content[:-8]
    else:
        content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match=f"{path.name} is damaged"):
        journal.read(0)


def test_what_a_crash_left_is_not_there(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number in range(3):
        journal.append(number, [trajectory(0, 0, [number])])
    (tmp_path / "000003-0123456789abcdef.arrow.partial").write_bytes(b"half")
    assert journal.read(3) is None
    journal.forget_after(1)
    assert journal.numbers() == [0, 1]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".arrow", ".arrow"]

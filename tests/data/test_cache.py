"""The token cache: found by content, never half, and never in the way."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish.data import cache, prepare
from burnish.data.dataset import TrainData
from burnish.data.mixture import Cursor
from burnish.testing.tiny import tiny_tokenizer

ROWS = [{"prompt": f"{number} + 1 =", "completion": f" {number + 1}"} for number in range(20)]
Build = Callable[..., TrainData]
Write = Callable[..., Path]


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources that were rendered, not taken from the cache."""
    names: list[str] = []
    real = prepare._render_all

    def counted(reader: Any, renderer: Any) -> Any:
        names.append(reader.name)
        return real(reader, renderer)

    monkeypatch.setattr(prepare, "_render_all", counted)
    return names


def ids_of(data: TrainData) -> list[str]:
    return [unit.id for unit in next(data.units(Cursor()))[0]]


def test_tokens_are_made_once_and_found_again(build: Build, write_rows: Write, rendered: list[str]) -> None:
    path = str(write_rows(ROWS))
    first, second = build(main={"source": path}), build(main={"source": path})
    assert rendered == ["main"]
    assert ids_of(first) == ids_of(second)
    assert first.report == second.report


def test_another_split_or_name_needs_no_new_tokens(build: Build, write_rows: Write, rendered: list[str]) -> None:
    path = str(write_rows(ROWS))
    build(main={"source": path})
    held = build(other={"source": path, "holdout": 0.3})
    assert rendered == ["main"]
    assert len(held.holdout["other"]) + held.report.sources["other"].kept == 20
    assert {unit.source for unit in held.holdout["other"]} == {"other"}


@pytest.mark.parametrize(
    ("source", "render"),
    [({}, {"max_length": 99}), ({}, {"overlength": "truncate"}), ({"limit": 5}, {}), ({"columns": {"text": "prompt"}}, {})],
)
def test_whatever_changes_tokens_makes_new_ones(
    build: Build, write_rows: Write, rendered: list[str], source: Any, render: Any
) -> None:
    path = str(write_rows(ROWS))
    build(main={"source": path})
    build(main={"source": path, **source}, render=render)
    assert rendered == ["main", "main"]


def test_changed_rows_and_tokenizers_make_new_ones(build: Build, write_rows: Write, rendered: list[str]) -> None:
    path = write_rows(ROWS)
    build(main={"source": str(path)})
    write_rows(ROWS[:-1])
    build(main={"source": str(path)})
    assert rendered == ["main", "main"]
    tokenizers = [tiny_tokenizer(), tiny_tokenizer(bos=True), tiny_tokenizer(chat=False), tiny_tokenizer(pad_is_eos=True)]
    tokenizers.append(tiny_tokenizer())
    tokenizers[-1].chat_template += " "
    assert len({cache.tokenizer_hash(tokenizer) for tokenizer in tokenizers}) == 5


def test_the_hash_of_a_tokenizer_survives_its_use() -> None:
    tokenizer = tiny_tokenizer()
    before = cache.tokenizer_hash(tokenizer)
    tokenizer(["a", "bcd"], padding=True, truncation=True, max_length=2)
    assert cache.tokenizer_hash(tokenizer) == before


def test_render_cache_false_leaves_no_file(build: Build, write_rows: Write, cache_folder: Path, rendered: list[str]) -> None:
    path = str(write_rows(ROWS))
    for _ in range(2):
        build(main={"source": path}, render={"cache": False})
    assert rendered == ["main", "main"]
    assert not cache_folder.exists()


@pytest.mark.parametrize("damage", ["cut table", "cut report", "no table"])
def test_a_damaged_entry_is_made_anew(build: Build, write_rows: Write, cache_folder: Path, damage: str) -> None:
    path = str(write_rows(ROWS))
    expected = ids_of(build(main={"source": path}))
    (entry,) = cache_folder.iterdir()
    file = entry / (cache.REPORT if damage == "cut report" else cache.TABLE)
    if damage == "no table":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-40])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert ids_of(build(main={"source": path})) == expected
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ids_of(build(main={"source": path})) == expected, "the entry was mended"


def test_an_interrupted_write_is_no_entry(
    build: Build, write_rows: Write, cache_folder: Path, monkeypatch: pytest.MonkeyPatch, rendered: list[str]
) -> None:
    path = str(write_rows(ROWS))
    with monkeypatch.context() as broken:
        broken.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            build(main={"source": path})
    assert list(cache_folder.iterdir()) == []
    build(main={"source": path})
    assert rendered == ["main", "main"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks Linux")
def test_bytes_are_on_the_disk_before_they_have_a_name(
    build: Build, write_rows: Write, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a loss of power leaves a name for bytes that never came."""
    real, seen = os.fsync, set[tuple[str, bool]]()

    def watched(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        seen.add((path.name, path.parent.name.startswith(".")))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    build(main={"source": str(write_rows(ROWS))})
    assert {(cache.TABLE, True), (cache.REPORT, True)} <= seen
    assert cache.TABLE in {file.name for entry in cache_folder.iterdir() for file in entry.iterdir()}


def test_a_cache_that_cannot_be_written_is_said_once_and_the_run_goes_on(
    build: Build, write_rows: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(write_rows(ROWS))
    expected = ids_of(build(main={"source": path}))
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.access(locked, os.W_OK):  # root may write everywhere; a file in the folder's place stops everybody
        locked = tmp_path / "file"
        locked.write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("BURNISH_CACHE", str(locked))
    with pytest.warns(UserWarning, match="tokens cannot be cached in .*this run tokenises and goes on") as said:
        results = [ids_of(build(main={"source": path})) for _ in range(2)]
    assert results == [expected, expected]
    assert len([one for one in said if "cannot be cached" in str(one.message)]) == 1


def test_a_report_is_plain_values(build: Build, write_rows: Write, cache_folder: Path) -> None:
    build(main={"source": str(write_rows(ROWS))})
    (entry,) = cache_folder.iterdir()
    assert json.loads((entry / cache.REPORT).read_text())["rows"] == 20

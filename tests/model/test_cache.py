"""The cache of log-probabilities: exact, shared, bounded, and never in the way."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from burnish.errors import ConfigError
from burnish.model.cache import LIMIT, LogpCache, Usage, size_limit, size_of

ONE, TWO = np.array([np.nan, -1.5, -2.5], np.float32), np.array([np.nan, -0.1], np.float32)


def test_values_come_back_exactly_in_another_process_object(tmp_path: Path) -> None:
    LogpCache(tmp_path).put("model", {"a": ONE, "b": TWO})
    found = LogpCache(tmp_path).get("model", ["a", "b", "c"])
    assert set(found) == {"a", "b"}
    np.testing.assert_array_equal(found["a"], ONE)
    assert LogpCache(tmp_path).get("another", ["a"]) == {}


def test_the_longest_unused_go_first_and_what_a_run_has_read_stays(tmp_path: Path) -> None:
    values = np.zeros(25, np.float32)  # 100 bytes each
    LogpCache(tmp_path).put("model", {"old": values})
    LogpCache(tmp_path).put("model", {"newer": values})
    LogpCache(tmp_path).put("model", {"newest": values})
    cache = LogpCache(tmp_path, limit_bytes=250)
    assert set(cache.get("model", ["old"])) == {"old"}
    cache.put("model", {"fresh": values})  # 400 bytes: of the unread ones, both must go
    assert set(cache.get("model", ["old", "newer", "newest", "fresh"])) == {"old", "fresh"}
    cache.put("model", {"x": values, "y": values})  # nothing left to evict: everything is pinned
    assert len(cache.get("model", ["old", "fresh", "x", "y"])) == 4


def test_a_folder_that_cannot_be_made_is_warned_about_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="takes nothing new"):
        cache = LogpCache(tmp_path / "file" / "cache")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.put("model", {"a": ONE})
        assert cache.get("model", ["a"]) == {}


def test_a_damaged_file_is_not_fatal(tmp_path: Path) -> None:
    (tmp_path / "logps.sqlite").write_bytes(b"not a database" * 100)
    with pytest.warns(UserWarning, match="not a database"):
        cache = LogpCache(tmp_path)
    assert cache.get("model", ["a"]) == {}


def test_a_file_that_can_only_be_read_still_serves(tmp_path: Path) -> None:
    LogpCache(tmp_path).put("model", {"a": ONE})
    file = tmp_path / "logps.sqlite"
    file.chmod(0o444)
    cache = LogpCache(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # root may write all the same
        np.testing.assert_array_equal(cache.get("model", ["a"])["a"], ONE)


def test_what_it_holds_and_how_it_is_trimmed(tmp_path: Path) -> None:
    values = np.zeros(25, np.float32)  # 100 bytes each
    cache = LogpCache(tmp_path)
    assert cache.usage() == Usage(0, 0, 0, 0.0, 0.0)
    cache.put("model", {"first": values, "second": values})
    cache.put("another", {"third": values})
    usage = cache.usage()
    assert (usage.entries, usage.models, usage.num_bytes) == (3, 2, 300)
    assert 0 < usage.oldest <= usage.newest
    cache.get("model", ["first"])  # used last
    cache.trim(150)
    assert set(cache.get("model", ["first", "second"])) == {"first"}
    assert cache.get("another", ["third"]) == {}
    cache.trim(0)
    assert cache.usage().entries == 0
    cache.put("model", {"again": values})
    assert set(LogpCache(tmp_path).get("model", ["again"])) == {"again"}


def test_sizes_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [size_of(text) for text in ("12", "1.5 kB", "500MB", "2g", "1e3")] == [12, 1500, 500_000_000, 2_000_000_000, 1000]
    with pytest.raises(ConfigError, match="'much' is no size"):
        size_of("much")
    monkeypatch.setenv(LIMIT, "3MB")
    assert size_limit() == 3_000_000

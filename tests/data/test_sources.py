"""Every kind of source gives its rows with their places, again and again; what cannot be read is said with file and line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from burnish.config.sections import SourceSection
from burnish.data.sources import RowSource, open_source
from burnish.errors import DataError
from burnish.registry import Registry, SourceRecord, load

ROWS = [{"prompt": "a", "completion": "b", "n": 1}, {"prompt": "c", "completion": "d\ne", "n": 2}]
Write = Callable[..., Path]


def opened(registry: Registry, source: object, live: Any = None, **settings: Any) -> RowSource:
    return open_source(SourceSection.model_validate({"source": str(source), **settings}), registry, live)


def rows_of(source: RowSource) -> list[Any]:
    return [dict(row) for _, row in source]


def places_of(source: RowSource) -> list[str]:
    return [str(place) for place, _ in source]


def test_json_lines_with_blank_lines_and_places(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\ufeff" + json.dumps(ROWS[0]) + "\n\n" + json.dumps(ROWS[1]), encoding="utf-8")
    source = opened(registry, path)
    assert rows_of(source) == rows_of(source) == ROWS
    assert places_of(source) == [f"{path}:1", f"{path}:3"]


def test_compressed_json_lines(registry: Registry, tmp_path: Path) -> None:
    with gzip.open(tmp_path / "rows.jsonl.gz", "wt", encoding="utf-8-sig") as file:
        file.writelines(json.dumps(row) + "\n" for row in ROWS)
    assert rows_of(opened(registry, tmp_path / "rows.jsonl.gz")) == ROWS


@pytest.mark.parametrize("content", [ROWS, {"version": 1, "data": ROWS}])
def test_json(registry: Registry, tmp_path: Path, content: object) -> None:
    (tmp_path / "rows.json").write_text(json.dumps(content), encoding="utf-8")
    assert rows_of(opened(registry, tmp_path / "rows.json")) == ROWS


@pytest.mark.parametrize(("name", "mark"), [("rows.csv", ","), ("rows.tsv", "\t")])
def test_cells_of_tables_are_text_with_line_ends(registry: Registry, tmp_path: Path, name: str, mark: str) -> None:
    lines = ["prompt,completion,n", "a,007,1.50", '"c","d\ne",']
    (tmp_path / name).write_text("\n".join(lines).replace(",", mark) + "\n", encoding="utf-8")
    assert rows_of(opened(registry, tmp_path / name)) == [
        {"prompt": "a", "completion": "007", "n": "1.50"},
        {"prompt": "c", "completion": "d\ne", "n": ""},
    ]


def test_numbers_and_truth_values_of_tables_are_read_where_formats_want_them(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("completion,good,weight\n1,True,0.5\n2,0,\n3,yes,1e-1\n", encoding="utf-8")
    source = opened(registry, tmp_path / "rows.csv", columns={"label": "good"})
    assert rows_of(source) == [
        {"completion": "1", "label": True, "weight": 0.5},
        {"completion": "2", "label": 0, "weight": None},
        {"completion": "3", "label": "yes", "weight": 0.1},
    ]


def test_parquet(registry: Registry, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    source = opened(registry, tmp_path / "rows.parquet")
    assert rows_of(source) == ROWS
    assert places_of(source)[1] == f"row 1 of {tmp_path / 'rows.parquet'}"


def test_text_by_lines_and_by_delimiter(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "play.txt"
    path.write_text("A:\nhello\n\nB:\nbye\n", encoding="utf-8")
    assert [row["text"] for row in rows_of(opened(registry, path))] == ["A:", "hello", "B:", "bye"]
    by_speech = opened(registry, path, delimiter="\n\n")
    assert [row["text"] for row in rows_of(by_speech)] == ["A:\nhello", "B:\nbye"]
    assert places_of(by_speech) == [f"{path}:1", f"{path}:4"]


def test_folders_patterns_and_splits(registry: Registry, write_rows: Write, tmp_path: Path) -> None:
    write_rows(ROWS[:1], "train.jsonl")
    write_rows(ROWS[1:], "test.jsonl")
    assert rows_of(opened(registry, tmp_path)) == ROWS[:1]
    assert rows_of(opened(registry, tmp_path, split="test")) == ROWS[1:]
    assert rows_of(opened(registry, tmp_path / "t*.jsonl")) == [ROWS[1], ROWS[0]], "in the order of their names"
    with pytest.raises(DataError, match=r"no files of split 'validation': test.jsonl, train.jsonl"):
        opened(registry, tmp_path, split="validation")


def test_no_split_of_what_is_not_divided(registry: Registry, write_rows: Write, tmp_path: Path) -> None:
    import datasets

    path = write_rows(ROWS, "rows.jsonl")
    datasets.Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "one"))
    for place in (path, tmp_path / "r*.jsonl", tmp_path / "one", "reasoning-gym"):
        with pytest.raises(DataError, match="has no split 'test': name a file of its own, or hold out a fraction"):
            opened(registry, place, split="test")
    near = write_rows(ROWS, "test.jsonl")
    with pytest.raises(DataError, match=rf"has no split 'test': name a file of its own, such as {near}"):
        opened(registry, path, split="test")


def test_a_source_that_fails_between_its_rows(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text("def rows():\n    yield {'text': 'a'}\n    raise KeyError('gone')\n")
    source = opened(load(run_code=True), f"{tmp_path}/failing.py:rows")
    with pytest.raises(DataError, match=r"failing.py:rows' with {} failed: KeyError: 'gone'"):
        rows_of(source)


def test_a_folder_without_split_names_is_all_train(registry: Registry, write_rows: Write, tmp_path: Path) -> None:
    write_rows(ROWS[:1], "a.jsonl")
    write_rows(ROWS[1:], "b.jsonl")
    source = opened(registry, tmp_path)
    assert rows_of(source) == ROWS
    assert places_of(source) == [f"{tmp_path / 'a.jsonl'}:1", f"{tmp_path / 'b.jsonl'}:1"]


def test_saved_datasets(registry: Registry, tmp_path: Path) -> None:
    import datasets

    data = datasets.Dataset.from_list(ROWS)
    data.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": data, "test": data.select([1])}).save_to_disk(str(tmp_path / "many"))
    assert rows_of(opened(registry, tmp_path / "one")) == ROWS
    assert rows_of(opened(registry, tmp_path / "many", split="test")) == ROWS[1:]
    with pytest.raises(DataError, match=r"no split 'tset'. Did you mean 'test'\?"):
        opened(registry, tmp_path / "many", split="tset")


def test_live_rows_of_all_sorts(registry: Registry) -> None:
    import datasets

    for live in (ROWS, iter(ROWS), datasets.Dataset.from_list(ROWS), datasets.Dataset.from_list(ROWS).to_iterable_dataset()):
        source = opened(registry, "live", live)
        assert rows_of(source) == rows_of(source) == ROWS
    with pytest.raises(DataError, match="row 1 of the given rows: expected a mapping of columns, found str"):
        rows_of(opened(registry, "live", [{}, "text"]))


class WithSource(Registry):
    """The installed plugins, and a source called `numbers`."""

    def __init__(self, target: Any) -> None:
        self._real, self._target = load(), target

    def records(self, kind: Any) -> Any:
        record = SourceRecord(name="numbers", target="burnish.fake:numbers", summary="numbers", api=1)
        return (*self._real.records(kind), record)

    def find(self, kind: Any, value: str) -> Any:
        return self._target


def test_sources_of_plugins_are_made_with_their_options_and_read_again() -> None:
    def numbers(count: int) -> Iterator[dict[str, str]]:
        return ({"text": str(number)} for number in range(count))

    registry = WithSource(numbers)
    source = opened(registry, "numbers", options={"count": 2})
    assert rows_of(source) == rows_of(source) == [{"text": "0"}, {"text": "1"}]
    with pytest.raises(DataError, match=r"source 'numbers' with \{'size': 2\} failed: TypeError"):
        opened(registry, "numbers", options={"size": 2})


def test_columns_are_renamed_and_missing_ones_named(registry: Registry) -> None:
    live = [{"question": "q", "answer": "a", "id": 1}]
    source = opened(registry, "live", live, columns={"prompt": "question", "completion": "answer"})
    assert rows_of(source) == [{"id": 1, "prompt": "q", "completion": "a"}]
    with pytest.raises(DataError, match=r"row 0 of the given rows has no column 'questoin'.*Did you mean 'question'\?"):
        rows_of(opened(registry, "live", live, columns={"prompt": "questoin"}))


def test_fingerprints_tell_content_and_reading_apart(registry: Registry, write_rows: Write) -> None:
    path = write_rows(ROWS)
    same, other = write_rows(ROWS, "copy.jsonl"), write_rows(ROWS[:1], "less.jsonl")
    first = opened(registry, path).fingerprint()
    assert first == opened(registry, same).fingerprint()
    different = [
        opened(registry, other),
        opened(registry, path, columns={"text": "prompt"}),
        opened(registry, path, delimiter=";"),
    ]
    assert len({first, *(source.fingerprint() for source in different)}) == 4
    assert opened(registry, "live", ROWS).fingerprint() != opened(registry, "live", ROWS[:1]).fingerprint()


def test_a_broken_line_is_named(registry: Registry, write_rows: Write) -> None:
    path = write_rows(ROWS * 3)
    path.write_text(path.read_text().replace('"n": 2}', '"n": 2', 1), encoding="utf-8")
    with pytest.raises(DataError, match=rf"{path}:2: broken JSON: Expecting ',' delimiter"):
        rows_of(opened(registry, path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.jsonl", "[1, 2]\n", r"rows.jsonl:1: expected an object with columns, found list"),
        ("rows.json", '{"a": 1}', "expected a list of rows, found an object with keys a"),
        ("rows.json", "3", "expected a list of rows, found int"),
        ("rows.json", '["x"]', "row 0 of .*: expected an object with columns, found str"),
        ("rows.parquet", "no parquet", "rows.parquet: .*Parquet"),
        ("rows.jsonl", '[\n{"text": "a"}\n]', r"rows.jsonl:1: broken JSON: .*name it \.json$"),
        ("rows.json", '{"text": "a"}\n{"text": "b"}', r"rows.json: broken JSON: .*name it \.jsonl$"),
        ("rows.csv", "a,b\n1,2,3\n", "rows.csv: .*Expected 2 columns, got 3"),
        ("rows.md", "x", "is no kind of file that rows can be read from"),
    ],
)
def test_what_cannot_be_read_is_said(registry: Registry, tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        rows_of(opened(registry, tmp_path / name))


def test_other_encodings_are_said(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'{"text": "\xe4"}\n')
    with pytest.raises(DataError, match="is not text in UTF-8"):
        rows_of(opened(registry, tmp_path / "rows.jsonl"))


def test_missing_paths_name_the_nearest(registry: Registry, write_rows: Write, tmp_path: Path) -> None:
    write_rows(ROWS, "train.jsonl")
    with pytest.raises(DataError, match=r"no data at .*trian.jsonl. Did you mean 'train.jsonl'\?"):
        opened(registry, tmp_path / "trian.jsonl")


def test_the_hub_without_network_says_what_was_tried(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def unreachable(*arguments: object, **options: object) -> None:
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(DataError) as error:
        opened(registry, "someone/some-data", split="validation")
    for tried in ("files of that name under", "a plugin's source (", "split 'validation'", "no route to the hub"):
        assert tried in str(error.value)


def test_the_hub_is_asked_for_the_split_as_a_stream(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[Any] = []

    def load_dataset(path: str, **settings: Any) -> Any:
        asked.append((path, settings))
        return datasets.Dataset.from_list(ROWS).to_iterable_dataset()

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    source = opened(registry, "someone/some-data", options={"name": "small"}, streaming=True)
    assert rows_of(source) == ROWS
    assert asked == [("someone/some-data", {"split": "train", "streaming": True, "name": "small"})]

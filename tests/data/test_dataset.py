"""From a config to batches, held-out units and a report; and every sort of bad data: one clear error, nothing lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from burnish.config.sections import Sections
from burnish.data.dataset import TrainData, build_dataset
from burnish.data.examples import Preference, Side
from burnish.data.mixture import Cursor
from burnish.errors import BurnishError, DataError, PluginError
from burnish.registry import Registry

Build = Callable[..., TrainData]
Write = Callable[..., Path]
GOOD = {"prompt": "2 + 2 =", "chosen": " 4", "rejected": " 5"}
ASK, FOUR = {"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}


def numbered(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"{number} =", "completion": f" {number}", "answer": number} for number in range(count)]


def test_sources_are_mixed_by_name_and_kind(build: Build) -> None:
    data = build(
        main={"weight": 3.0},
        notes={"weight": 1.0},
        rows={"main": [GOOD] * 9, "notes": [{"text": "abc"}] * 3},
        train={"batch_size": 4},
    )
    batch, cursor = next(data.units(Cursor()))
    assert sorted((unit.source, unit.kind) for unit in batch) == [("main", "preference")] * 3 + [("notes", "text")]
    assert data.kinds == {"main": "preference", "notes": "text"}
    assert cursor.step == 1
    assert data.steps_per_epoch == 3  # 9 draws of main are 12 draws in all


def test_held_out_rows_come_with_their_examples_and_are_not_trained_on(build: Build) -> None:
    data = build(main={"holdout": 0.25}, rows={"main": numbered(40)})
    units, examples = data.holdout["main"], data.holdout_rows["main"]
    assert [example.columns["answer"] for example in examples] == [unit.row for unit in units]
    trained = {unit.row for batch, _ in zip(data.units(Cursor()), range(3), strict=False) for unit in batch[0]}
    assert trained | {unit.row for unit in units} == set(range(40))
    assert not trained & {unit.row for unit in units}
    assert (data.report.sources["main"].kept, data.report.sources["main"].held_out) == (len(trained), len(units))


def test_the_same_rows_are_held_out_whatever_the_seed(build: Build) -> None:
    held = [
        [unit.id for unit in build(main={"holdout": 0.25}, rows={"main": numbered(40)}, train={"seed": seed}).holdout["main"]]
        for seed in (0, 1)
    ]
    assert held[0] == held[1]


def test_held_out_rows_from_a_file_or_another_split(build: Build, write_rows: Write, tmp_path: Path) -> None:
    write_rows(numbered(6), "train.jsonl")
    other = write_rows(numbered(3), "test.jsonl")
    for settings in (
        {"source": str(tmp_path), "holdout": "test"},
        {"source": str(tmp_path / "train.jsonl"), "holdout": str(other)},
    ):
        data = build(main=settings)
        assert (data.report.sources["main"].kept, len(data.holdout["main"])) == (6, 3)
        assert [example.columns["answer"] for example in data.holdout_rows["main"]] == [0, 1, 2]


def test_held_out_rows_that_cannot_be_used_are_told_of(build: Build, write_rows: Write) -> None:
    rows = numbered(3)
    other = write_rows([*rows, {**rows[0], "completion": "b" * 99}], "other.jsonl")
    data = build(main={"source": str(write_rows(numbered(6))), "holdout": str(other)}, render={"max_length": 64})
    *_, kept, dropped = data.report.lines()
    assert kept == "main, held out: 3 of 4 rows are evaluated on"
    assert dropped.startswith("  1 dropped, longer than render.max_length")


def test_given_rows_have_no_splits(build: Build) -> None:
    with pytest.raises(DataError, match=r"data.main.holdout: given rows have no split 'test'"):
        build(main={"holdout": "test"}, rows={"main": numbered(3)})


def test_limit_takes_the_first_rows(build: Build) -> None:
    assert build(main={"limit": 3}, rows={"main": numbered(9)}).report.sources["main"].rows == 3


def test_the_report_counts_tokens_and_targets(build: Build) -> None:
    data = build(main={}, rows={"main": [{"prompt": "ab", "completion": "cd"}, {"prompt": "a", "completion": "b"}]})
    # a b c d <end> and a b <end>: 5 + 3 tokens, of which 3 + 2 are targets.
    report = data.report.sources["main"]
    assert (report.rows, report.kept, report.tokens, report.targets) == (2, 2, 8, 5)
    assert data.report.lines() == ["main: 2 rows (prompt_completion), 2 for training, 8 tokens, 5 of them targets"]


def test_weights_and_margins_reach_the_units(build: Build) -> None:
    data = build(main={}, rows={"main": [{**GOOD, "weight": 0.5, "margin": 1.0}]})
    ((unit, *_), _) = next(data.units(Cursor()))
    assert unit.scalars == {"weight": 0.5, "margin": 1.0}


def test_live_rows_need_a_source_of_their_name(build: Build, tokenizer: Any, registry: Registry) -> None:
    with pytest.raises(DataError, match="rows were given for source 'mian', which the config does not have: main"):
        build(main={}, rows={"mian": [GOOD]})
    with pytest.raises(DataError, match="names no data"):
        build_dataset(Sections(), tokenizer, registry)


# Bad data, each as a user would bring it.


def test_an_empty_file(build: Build, write_rows: Write) -> None:
    path = write_rows([])
    with pytest.raises(DataError, match=rf"data.main: {path} has no rows"):
        build(main={"source": str(path)})


def test_a_broken_line(build: Build, write_rows: Write) -> None:
    path = write_rows([GOOD] * 3)
    path.write_text(path.read_text() + '{"prompt": "x"\n', encoding="utf-8")
    with pytest.raises(DataError, match=rf"{path}:4: broken JSON"):
        build(main={"source": str(path)})


def test_rows_of_two_kinds(build: Build, write_rows: Write) -> None:
    path = write_rows([GOOD, {"prompt": "p", "completion": "c"}, GOOD])
    with pytest.raises(DataError) as error:
        build(main={"source": str(path)})
    assert f"data.main: rows of several forms: 2 of 3 rows looked at are preference, 1 are not\n  {path}:2: keys" in str(
        error.value
    )


def test_a_row_of_another_kind_beyond_those_looked_at(build: Build, write_rows: Write) -> None:
    path = write_rows([*[GOOD] * 1100, {"text": "x"}, {"text": "y"}])
    with pytest.raises(DataError) as error:
        build(main={"source": str(path)})
    said = str(error.value)
    assert "data.main: 2 of 1102 rows cannot be used" in said
    assert f"{path}:1101 (keys text) is not a row of format 'preference': expected" in said


def test_bad_rows_can_be_dropped_and_are_counted(build: Build) -> None:
    data = build(main={"bad_rows": "drop"}, rows={"main": [GOOD, {"text": "x"}, GOOD]})
    assert data.report.sources["main"].kept == 2
    assert any("1 dropped, not of the source's format: row 1 of the given rows" in line for line in data.report.lines())


def test_chosen_equals_rejected(build: Build) -> None:
    tie = {**GOOD, "rejected": " 4"}
    with pytest.raises(DataError, match="chosen equals rejected in all 3 rows"):
        build(main={}, rows={"main": [tie] * 3})
    data = build(main={}, rows={"main": [tie, GOOD]})
    assert data.report.sources["main"].notes == {"chosen_is_rejected": 1}


def test_a_row_without_targets_is_dropped_and_counted(build: Build) -> None:
    data = build(main={}, rows={"main": [{"messages": [ASK]}, {"messages": [ASK, FOUR]}]})
    assert data.report.sources["main"].dropped == {"no_targets": 1}
    assert any(
        "without a target token: row 0 of the given rows: the chat has no assistant turn" in line
        for line in data.report.lines()
    )


def test_chats_without_any_assistant_turn(build: Build) -> None:
    with pytest.raises(DataError, match=r"no row is left of 2:\n.*the chat has no assistant turn"):
        build(main={}, rows={"main": [{"messages": [ASK]}] * 2})


def test_a_prompt_longer_than_max_length(build: Build) -> None:
    rows = [{"prompt": "x" * 40, "completion": "y"}, {"prompt": "x", "completion": "y"}]
    data = build(main={}, rows={"main": rows}, render={"max_length": 20})
    assert data.report.sources["main"].dropped == {"over_length": 1}
    data = build(main={}, rows={"main": rows}, render={"max_length": 20, "overlength": "truncate"})
    assert any("the prompt alone fills render.max_length" in line for line in data.report.lines())
    with pytest.raises(
        DataError, match=r"1 of 2 rows are too long: row 0 of the given rows: 42 tokens, render\.max_length is 20"
    ):
        build(main={}, rows={"main": rows}, render={"max_length": 20, "overlength": "error"})


def test_images_for_a_text_model(build: Build) -> None:
    row = {"prompt": "What is this?", "completion": "A cat.", "images": [np.zeros((2, 2, 3))]}
    with pytest.raises(DataError, match=r"1 of 1 rows cannot be used:\n.*row 0 .* has images, but the model reads text only"):
        build(main={}, rows={"main": [row]})


def test_a_format_that_raises(build: Build, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    class Raising:
        name, kind = "raising", "preference"

        def sniff(self, row: Any) -> float:
            return 1.0

        def convert(self, row: Any) -> Preference:
            raise KeyError("winner")

    monkeypatch.setattr(Registry, "find", lambda self, kind, value: Raising)
    with pytest.raises(
        PluginError, match=r"format 'raising' failed in convert\(\) on row 0 of the given rows .*KeyError: 'winner'"
    ):
        build(main={"format": "raising"}, rows={"main": [GOOD]})


def test_a_missing_file_and_a_misspelt_format(build: Build) -> None:
    with pytest.raises(DataError, match="no data at"):
        build(main={"source": "./nowhere.jsonl"})
    with pytest.raises(BurnishError, match=r"Did you mean 'preference'\?"):
        build(main={"format": "preferense"}, rows={"main": [GOOD]})


def test_a_fraction_that_leaves_nothing(build: Build) -> None:
    with pytest.raises(DataError, match="leaves none to train on"):
        build(main={"holdout": 1.0}, rows={"main": numbered(5)})


def test_examples_know_their_side() -> None:
    assert Preference("p", "c", "r").side == Side()

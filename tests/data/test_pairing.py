"""Answers to one prompt become pairs, pairs become single answers: what comes out, what is refused, what is counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from burnish.config import load_config
from burnish.config.sections import SourceSection
from burnish.data.dataset import TrainData
from burnish.data.examples import NoExample, Preference, RowError, Unpaired
from burnish.data.mixture import Cursor
from burnish.data.pairing import paired
from burnish.data.prepare import open_reader
from burnish.data.sources import Place
from burnish.errors import BurnishError, DataError
from burnish.registry import Registry

Build = Callable[..., TrainData]
RATED = [
    {"prompt": "a", "completion": "one", "rating": 1},
    {"prompt": "b", "completion": "alone", "rating": 3},
    {"prompt": "a", "completion": "three", "rating": 3, "weight": 0.5, "source": "x", "page": 1},
    {"prompt": "c", "completion": "even", "rating": 2},
    {"prompt": "a", "completion": "two", "rating": 2, "weight": 0.5, "source": "x", "page": 2},
    {"prompt": "c", "completion": "so", "rating": 2},
]
MARKED = [
    {"prompt": "a", "completion": "good", "label": True},
    {"prompt": "a", "completion": "bad", "label": False},
    {"prompt": "b", "completion": "lone", "label": True},
    {"prompt": "a", "completion": "better", "label": True},
]
RANKED = [{"prompt": "a", "completions": ["x", "y", "z"], "margin": 1.0}, {"prompt": "b", "completions": ["u", "v"]}]
PAIRS = [{"prompt": "a", "chosen": "x", "rejected": "y", "weight": 2.0, "margin": 1.0}]


def read(rows: list[dict[str, Any]], pairing: Any, registry: Registry, **section: Any) -> list[Any]:
    reader = open_reader("main", SourceSection(source="live", pairing=pairing, **section), registry, rows)
    return [(place.index, place.part, example) for place, example in reader.examples()]


def sides(found: list[Any]) -> list[tuple[Any, Any]]:
    return [(one.chosen, one.rejected) for _, _, one in found if isinstance(one, Preference)]


@pytest.mark.parametrize(
    ("rows", "pairing", "expected"),
    [
        (RATED, "all", [("three", "two"), ("three", "one"), ("two", "one")]),
        (RATED, "best_worst", [("three", "one")]),
        (MARKED, "all", [("good", "bad"), ("better", "bad")]),
        (MARKED, "best_worst", [("good", "bad")]),
        (RANKED, "all", [("x", "y"), ("x", "z"), ("y", "z"), ("u", "v")]),
        (RANKED, "best_worst", [("x", "z"), ("u", "v")]),
    ],
)
def test_pairs(rows: Any, pairing: str, expected: list[tuple[str, str]], registry: Registry) -> None:
    assert sides(read(rows, pairing, registry)) == expected


def test_a_pair_has_what_both_rows_have(registry: Registry) -> None:
    (_, _, best), (_, _, other), *_ = read(RATED, "all", registry)
    assert (best.side.weight, best.columns) == (0.25, {"source": "x"})  # .5 * .5; the pages differ
    assert (other.side.weight, other.columns) == (0.5, {})  # the other row has no weight


def test_answers_belong_together_when_everything_that_is_asked_is_equal(registry: Registry) -> None:
    ask = [{"role": "user", "content": "Rome?"}]
    answers = [[{"role": "assistant", "content": text}] for text in ("warm", "cold")]
    tool = [{"name": "weather"}]
    rows: list[dict[str, Any]] = [
        {"prompt": ask, "completion": answer, "label": good, "tools": tool}
        for answer, good in zip(answers, (True, False), strict=True)
    ]
    assert len(sides(read(rows, "all", registry))) == 1
    rows[1]["tools"] = []
    assert not sides(read(rows, "all", registry))


def test_what_gives_no_pair_is_counted_with_its_reason(build: Build, registry: Registry) -> None:
    found = [(index, str(one)) for index, _, one in read(RATED, "all", registry) if isinstance(one, NoExample)]
    assert [index for index, _ in found] == [1, 3]
    assert "row 1 of the given rows: it is the only answer to its prompt" in found[0][1]
    assert "all answers to its prompt are equally good" in found[1][1]
    report = build(main={"pairing": "all"}, rows={"main": RATED}).report.sources["main"]
    assert (report.rows, report.kept, dict(report.dropped), report.kind) == (5, 3, {"no_pair": 2}, "preference")
    assert "(rated, pairing: all)" in next(report.lines())


def test_undone_pairs_are_marked_and_lose_their_margin(registry: Registry) -> None:
    (_, _, good), (_, _, bad) = read(PAIRS, "undo", registry)
    assert isinstance(good, Unpaired)
    assert (good.completion, good.label, bad.completion, bad.label) == ("x", True, "y", False)
    assert good.side.weight == bad.side.weight == 2.0
    assert good.side.margin is None


def test_undone_pairs_can_be_paired_again(registry: Registry) -> None:
    undone = paired(iter([(Place(0, "f"), one) for _, _, one in read(PAIRS, None, registry)]), "undo", "preference")
    assert sides([(0, 0, one) for _, one in paired(undone, "best_worst", "unpaired")]) == [("x", "y")]


def test_bad_rows_pass_through(registry: Registry) -> None:
    found = read([*MARKED, {"prompt": "a", "completion": 3}], "all", registry, bad_rows="drop")
    assert sum(isinstance(one, RowError) and not isinstance(one, NoExample) for _, _, one in found) == 1
    assert len(sides(found)) == 2


def test_units_of_one_row_are_told_apart(build: Build) -> None:
    """Held-out units find their examples again, though several come from one row."""
    rows = [{"prompt": f"{number}", "completions": ["x", "y", "z"]} for number in range(20)]
    data = build(main={"pairing": "all", "holdout": 0.3}, rows={"main": rows})
    held, examples = data.holdout["main"], data.holdout_rows["main"]
    assert {len([unit for unit in held if unit.row == row]) for row in {unit.row for unit in held}} == {3}
    assert [unit.part for unit in held[:3]] == [0, 1, 2]
    said = [(example.chosen, example.rejected) for example in examples if isinstance(example, Preference)]
    assert said == [("x", "y"), ("x", "z"), ("y", "z")] * (len(held) // 3)


def test_the_cache_knows_the_pairing(build: Build) -> None:
    sizes = [build(main={"pairing": how}, rows={"main": RANKED}).report.sources["main"].kept for how in ("all", "best_worst")]
    assert sizes == [4, 2]


@pytest.mark.parametrize(("rows", "pairing", "kind"), [(RANKED, "undo", "ranked"), (PAIRS, "all", "preference")])
def test_rows_that_cannot_be_paired_so_are_refused(rows: Any, pairing: str, kind: str, build: Build) -> None:
    with pytest.raises(DataError, match=rf"data.main.pairing: '{pairing}' takes .* rows; these are {kind}"):
        build(main={"pairing": pairing}, rows={"main": rows})


@pytest.mark.parametrize("rows", [RATED, MARKED])
def test_pairs_across_rows_are_not_streamed(rows: Any, build: Build) -> None:
    with pytest.raises(DataError, match=r"data.main.pairing: .* may stand anywhere.*drop `streaming: true`"):
        build(main={"pairing": "all", "streaming": True}, rows={"main": rows})


@pytest.mark.parametrize(("rows", "pairing", "per_row"), [(RANKED[:1] * 4, "all", 3), (PAIRS * 4, "undo", 2)])
def test_what_is_in_one_row_is_streamed_and_resumed(rows: Any, pairing: str, per_row: int, build: Build) -> None:
    rows = [{**row, "prompt": f"{number}"} for number, row in enumerate(rows)]
    section = {"pairing": pairing, "streaming": True, "shuffle_buffer": 3}
    data = build(main=section, rows={"main": rows}, train={"batch_size": 2})
    batches = [one for one, _ in zip(data.units(Cursor()), range(2 * per_row), strict=False)]
    assert len(batches) == 2 * per_row
    assert len({unit.id for batch, _ in batches for unit in batch}) == 4 * per_row
    again = [unit.id for units, _ in zip(data.units(batches[1][1]), range(2), strict=False) for unit in units[0]]
    assert again == [unit.id for batch, _ in batches[2:4] for unit in batch]


@pytest.mark.parametrize(
    ("data", "loss", "said"),
    [
        ({"format": "ranked", "pairing": "undo"}, "kto", "data.main.pairing: 'undo' takes preference rows; these are ranked"),
        ({"format": "rated", "pairing": "all"}, "kto", "which holds preference rows"),
        ({"pairing": "undo"}, "dpo", "which holds unpaired rows"),
    ],
)
def test_configs_that_cannot_work_are_refused_before_any_row_is_read(
    data: dict[str, Any], loss: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"data": {"main": {"source": "rows.jsonl", **data}}, "objective": [{loss: {}}]}))
    with pytest.raises(BurnishError, match=said):
        load_config(path)

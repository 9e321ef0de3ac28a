"""The benchmark of growth: its tables by hand, its rows, its made-up plugins, and a run of tiny sizes."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from tests.benchmarks.growth import plots, worker
from tests.benchmarks.growth.__main__ import merged, write
from tests.benchmarks.growth.points import CURVES, LOSSES, Point, pairs, rows
from tests.benchmarks.growth.tables import losses_table, markdown

from burnish import registry
from burnish.batch.trie import num_unique_tokens
from burnish.config.sections import RenderSection
from burnish.data.detect import convert, detect_format, row_number
from burnish.data.render import Renderer
from burnish.data.units import Unit
from burnish.objective.compose import Objective
from burnish.testing import tiny_tokenizer

TINY = Point(prompt=4, completion=3, group=2, prompts=2, vocabulary=300, layers=1, hidden=16, threads=1)


def run(seconds: list[float], peak: float) -> dict[str, Any]:
    return {"seconds": seconds, "cpu_seconds": seconds, "peak_bytes": peak, "state_bytes": 100e6}


def two_lengths(runs: list[dict[str, Any]], middle: Point = TINY, **further: Any) -> dict[str, Any]:
    """What is found where two prompt lengths were measured."""
    points = [replace(middle, prompt=value) for value in CURVES[0].values[: len(runs)]]
    measured = [{"point": asdict(point), "runs": [one]} for point, one in zip(points, runs, strict=True)]
    return {"middle": asdict(middle), "points": measured, **further}


def test_a_table_by_hand() -> None:
    # 2 prompts of 64 tokens with 8 completions of 64: 2 (64 + 512) = 1152 unique, 2 x 8 x 128 = 2048 plain. The median of 1, 2,
    # 2 and 5 s is 2 s, so 576 tokens a second; 300 or 500 MB, 400 between them, are 300 beside the states.
    found = two_lengths([run([1, 2], 300e6), run([1, 1], 0.0)], Point())
    found["points"][0]["runs"].append(run([2, 5], 500e6))
    assert markdown(found).splitlines()[-2] == "| 64 | 1152 | 2048 | 2.000 | 1.000-5.000 | 576 | 400 | 300 |"


def test_a_second_loss_is_compared_with_the_step_beside_it() -> None:
    # Steps with one loss took 1, 2, 4 s, with two 1.1, 2.1 and 4 s: 10 %, 5 % and 0 % more. Quartiles of three: themselves.
    # With next to no model the second loss takes 10 ms more, half a per cent of 2 s.
    alone = {"seconds": [[0.05] * 3, [0.06] * 3]}
    case = {"losses": ["grpo", "cispo"], "seconds": [[1.0, 2.0, 4.0], [1.1, 2.1, 4.0]], "alone": alone}
    assert list(losses_table({"losses": {"policy gradient": case}}))[2:] == [
        "| grpo | 2.000 | 1.000-4.000 |  |  |  |  |",
        "| grpo + cispo | 2.100 | 1.100-4.000 | +5.0% | +0.0% to +10.0% | 10.0 | 0.50% |",
    ]


def test_everybody_is_first_in_turn() -> None:
    assert [worker.turn_of(step, 3) for step in range(9)] == [0, 1, 2, 1, 2, 0, 2, 0, 1]


@pytest.mark.parametrize("make", [rows, pairs])
def test_rows_have_the_tokens_that_the_point_says(make: Any) -> None:
    found = make(TINY)
    form = detect_format(found, registry.load())
    renderer = Renderer(tiny_tokenizer(False), RenderSection(cache=False))
    examples = [one for place, row in enumerate(found) for one in convert(form, row, row_number(place))]
    units = [renderer.render(example, "main", place) for place, example in enumerate(examples)]
    sequences = [one for unit in units if isinstance(unit, Unit) for one in unit.sequences]
    assert [len(one) for one in sequences] == [TINY.prompt + TINY.completion] * TINY.prompts * TINY.group
    assert num_unique_tokens(sequences) <= TINY.unique_tokens  # completions may begin alike


def test_all_losses_of_an_objective_read_the_same() -> None:
    for losses in LOSSES.values():
        every = [Objective.parse(losses[:count], registry.load()) for count in range(1, len(losses) + 1)]
        for role in ("policy", "reference", "old"):
            assert len({one.signals(role) for one in every}) == 1


def test_made_up_plugins_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(registry.load().plugins)
    worker.made_up_plugins(tmp_path / "plugins", 2)
    monkeypatch.syspath_prepend(tmp_path / "plugins")
    found = registry.load()
    assert len(found.plugins) == before + 2
    assert not list(found.problems())


def test_what_is_measured_again_replaces_what_was_known() -> None:
    old = two_lengths([run([1], 0), run([2], 0)], ranks=[], startup=[{"plugins": 1}], losses={"pairs": {"a": 1}})
    new = {**two_lengths([run([3], 0)], ranks=[asdict(TINY)], startup=[], losses={"policy gradient": {"b": 2}})}
    found = merged(old, new)
    assert sorted(one["runs"][0]["seconds"] for one in found["points"]) == [[2], [3]]
    assert (found["ranks"], found["startup"]) == (new["ranks"], old["startup"])
    assert set(found["losses"]) == {"pairs", "policy gradient"}


def test_a_tiny_point_and_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(worker, "matrix_rate", lambda dtype: 1e11)
    monkeypatch.setattr(plots, "draw", lambda found, path: None)
    (tmp_path / "one").mkdir()
    found = worker.measured(tmp_path / "one", TINY, 1)
    assert len(found["seconds"]) == 1
    assert TINY.unique_tokens - 4 <= found["forwarded_tokens"] <= TINY.unique_tokens
    (tmp_path / "both").mkdir()
    losses = worker.compared(tmp_path / "both", TINY, "policy gradient", 1)
    assert [len(steps) for steps in losses["seconds"]] == [1, 1, 1]
    losses["alone"] = {**losses}
    page = tmp_path / "growth.md"
    page.write_text("# Title\n\nIn words.\n\n## Old table\n")
    write(two_lengths([found, found], losses={"policy gradient": losses}), page)
    assert page.read_text().startswith("# Title\n\nIn words.\n\n## By prompt length\n")
    assert "Old table" not in page.read_text()


@pytest.mark.slow
def test_pictures(tmp_path: Path) -> None:
    plots.draw(two_lengths([run([1, 2], 300e6), run([2, 5], 500e6)]), tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 1000

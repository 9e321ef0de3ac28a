"""UDM: the regression against its own optimality, ratios by hand, weights of real rows, and a loss that uses them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from burnish_udm.ratio import density_ratios, fit
from burnish_udm.source import UDM

from burnish.config.sections import SourceSection
from burnish.data.examples import Unpaired
from burnish.data.prepare import open_reader
from burnish.errors import DataError
from burnish.registry import load
from burnish.testing import tiny_model, tiny_tokenizer


def test_points_that_are_all_alike_have_ratio_one() -> None:
    """Whatever the numbers of good and bad ones: both marks count as equally frequent."""
    good = np.array([True] + [False] * 9)
    assert density_ratios(np.ones((10, 3)), good, np.arange(10)).tolist() == pytest.approx([1.0] * 10)


def test_a_regression_by_hand() -> None:
    # One good point at 1, one bad at -1, weights 1 each, b = 0 by symmetry: minimum of w^2 / 2 + 2 log(1 + e^-w), where
    # w = 2 / (1 + e^w): w = .6749
    [w, b] = fit(np.array([[1.0, 1.0], [-1.0, 1.0]]), np.array([True, False]))
    assert w == pytest.approx(2 / (1 + np.exp(w)))
    assert (w, b) == pytest.approx((0.6749, 0.0), abs=1e-4)
    ratios = density_ratios(np.array([[1.0], [-1.0], [0.0]]), np.array([True, False, False]), np.array([0, 1]))
    assert ratios.tolist() == pytest.approx([np.exp(w), np.exp(-w), 1.0])


def test_the_slope_is_zero_where_it_ends() -> None:
    """Central differences of the objective as the docstring has it, many dimensions, uneven marks."""
    random = np.random.default_rng(0)
    good = random.random(60) < 0.2
    points = np.concatenate([random.normal(size=(60, 20)) + good[:, None], np.ones((60, 1))], axis=1)
    found = fit(points, good)
    shares = np.where(good, 30 / good.sum(), 30 / (~good).sum())

    def loss(at: Any) -> float:
        return float(0.5 * (at[:-1] ** 2).sum() + shares @ np.log1p(np.exp(-np.where(good, 1, -1) * (points @ at))))

    for direction in np.eye(21):
        assert abs(loss(found + 1e-5 * direction) - loss(found - 1e-5 * direction)) / 2e-5 < 1e-6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An embedder, and answers that are good to one kind of prompt and bad to two kinds."""
    tiny_model("llama").save_pretrained(tmp_path / "embedder")
    tiny_tokenizer().save_pretrained(tmp_path / "embedder")
    rows: list[dict[str, Any]] = [
        {"prompt": f"sum {number}", "completion": "yes", "label": True, "page": number} for number in range(12)
    ]
    rows += [{"prompt": f"sum {number}", "completion": "no", "label": False, "weight": 2.0} for number in range(20, 24)]
    ask, refusal = {"role": "user", "content": "poem " * 5}, [{"role": "assistant", "content": "no"}]
    rows += [{"prompt": [ask], "completion": refusal, "label": False} for _ in range(20)]
    (tmp_path / "marked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def source(folder: Path, **options: Any) -> UDM:
    return UDM(rows=str(folder / "marked.jsonl"), embedder=str(folder / "embedder"), **options)


def test_bad_answers_to_prompts_of_good_ones_weigh_more(folder: Path) -> None:
    rows = list(source(folder))
    good, like, unlike = rows[:12], rows[12:16], rows[16:]
    assert {row["weight"] for row in good} == {1.0}
    assert good[3]["page"] == 3
    assert min(row["weight"] / 2 for row in like) > 1 > max(row["weight"] for row in unlike)
    assert all(row["weight"] >= 0.5 for row in unlike)
    assert len(source(folder)) == len(rows)


def test_bounds_hold_and_a_row_keeps_its_own_weight(folder: Path) -> None:
    rows = list(source(folder, low=0.9, high=1.05))
    assert {row["weight"] for row in rows[12:16]} == {2 * 1.05}
    assert {row["weight"] for row in rows[16:]} == {0.9}


def test_it_is_a_source_of_marked_answers_with_weights(folder: Path) -> None:
    options = {"rows": str(folder / "marked.jsonl"), "embedder": str(folder / "embedder")}
    reader = open_reader("main", SourceSection(source="udm", options=options), load())
    examples = [example for _, example in reader.examples() if isinstance(example, Unpaired)]
    assert (reader.kind, len(examples)) == ("unpaired", 36)
    assert [example.side.weight for example in examples] == [row["weight"] for row in source(folder)]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"prompt": "a", "completion": "b", "label": True}], "holds only good answers; a ratio needs both marks"),
        ([{"prompt": "a", "chosen": "b", "rejected": "c"}], "weighs unpaired rows"),
    ],
)
def test_rows_that_cannot_be_weighed_are_refused(rows: list[dict[str, Any]], said: str, folder: Path) -> None:
    (folder / "marked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=said):
        list(source(folder))


def test_an_embedder_is_not_unpickled(folder: Path) -> None:
    (folder / "embedder" / "model.safetensors").unlink()
    torch.save(tiny_model("llama").state_dict(), folder / "embedder" / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"cannot be loaded: .*safetensors"):
        list(source(folder))


@pytest.mark.parametrize("options", [{"low": 2.0, "high": 1.0}, {"low": -1.0}, {"sample": 0}])
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="udm:"):
        UDM(rows="x", embedder="y", **options)

"""`burnish score`: rows with their scores, the summary, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from burnish.cli.main import app
from burnish.cli.score import summary
from burnish.data.examples import Example, Preference, Ranked, Rated, Side, Stepwise, Unpaired
from burnish.judging.classifier import Verdict
from burnish.judging.evidence import Evidence
from burnish.testing import tiny_model, tiny_tokenizer

PAIRS = [
    {"prompt": "p", "chosen": "yes", "rejected": "no", "chosen_model": "big", "rejected_model": "small", "id": 7},
    {"prompt": "q", "chosen": "well", "rejected": "b" * 600, "chosen_model": "big", "rejected_model": "small", "id": 8},
]
WAYS: dict[str, Callable[[list[float]], float]] = {
    "product": lambda steps: steps[0] * steps[1],
    "min": min,
    "last": lambda steps: steps[1],
    "mean": lambda steps: (steps[0] + steps[1]) / 2,
}
SOLUTIONS = [{"prompt": "1 + 1 =", "completions": ["one", "two"], "labels": [True, False]}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both classifiers, a language model, and rows."""
    place = tmp_path_factory.mktemp("models")
    for family in ("llama_classifier", "llama_steps", "llama"):
        tiny_model(family).save_pretrained(place / family)
        tiny_tokenizer(chat=False).save_pretrained(place / family)
    for name, rows in (("pairs", PAIRS), ("solutions", SOLUTIONS)):
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return place


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["score", *map(str, arguments)])


def test_pairs(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "scored.jsonl"
    result = invoke(folder / "llama_classifier", folder / "pairs.jsonl", "--out", out)
    assert result.exit_code == 0, result.output
    first, second = (json.loads(line) for line in out.read_text().splitlines())
    assert first.keys() == {*PAIRS[0], "score_chosen", "score_rejected"}
    assert second["score"] is None
    assert second["not_scored"] == "over_length: longer than the model's context of 512 tokens"
    assert "1 of 2 examples scored; 1 left out: over_length" in result.stdout
    won = first["score_chosen"] > first["score_rejected"]
    assert f"pair accuracy {float(won):.4f} (1 pairs)" in result.stdout
    assert "calibration error" in result.stdout
    assert "Elo by the scores" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["scored.jsonl"]


def test_solutions(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "scored.jsonl"
    for way, score in WAYS.items():
        result = invoke(folder / "llama_steps", folder / "solutions.jsonl", "--out", out, "--aggregate", way)
        assert result.exit_code == 0, result.output
        row = json.loads(out.read_text())
        assert row["score"] == pytest.approx(score(row["step_scores"]))
        out.unlink()
    assert "first wrong step: precision" in result.stdout
    assert "no Elo table: that takes answers of several writers" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["llama", "pairs.jsonl"], "is a language model, which scores nothing"),
        (["llama_steps", "nothing.jsonl"], "there is no data at"),
        (["nothing", "pairs.jsonl"], "no model at"),
        (["llama_steps", "pairs.jsonl", "--aggregate", "max"], "no way to aggregate steps is called 'max'"),
        (["llama_steps", "pairs.jsonl", "--out", "pairs.jsonl"], "exists; choose another file"),
        (["llama_steps", "pairs.jsonl", "--out", "nowhere/out.jsonl"], "cannot be written"),
    ],
)
def test_refusals(folder: Path, arguments: list[str], message: str) -> None:
    result = invoke(*(word if word in ("--aggregate", "max", "--out") else folder / word for word in arguments))
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_a_bad_row_is_named_and_nothing_is_left_behind(folder: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in [*[SOLUTIONS[0]] * 65, {"prompt": "p"}]))
    result = invoke(folder / "llama_steps", rows, "--out", tmp_path / "out.jsonl", "--format", "stepwise")
    assert result.exit_code == 2
    assert "rows.jsonl:66" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def heard(*pairs: tuple[Example, Verdict]) -> tuple[Evidence, list[dict[str, Any]]]:
    evidence = Evidence("min")
    return evidence, [evidence.hear(example, verdict) for example, verdict in pairs]


def test_ratings_marks_and_writers_of_single_answers() -> None:
    def answer(prompt: str, name: str, label: bool) -> Unpaired:
        return Unpaired(prompt, "a", label, side=Side(columns={"solver": name}))

    evidence, columns = heard(
        (answer("p", "x", True), Verdict({"main": 2.0})),
        (answer("p", "y", False), Verdict({"main": 1.0})),
        (answer("q", "x", True), Verdict({"main": 0.0})),  # nobody else answered q
        (Rated("p", "b", 3.0), Verdict({"main": 5.0})),
        (Rated("p", "c", 4.0), Verdict({"main": 6.0})),
    )
    assert columns[0] == {"score": 2.0}
    assert [(row.name, row.games) for row in evidence.standings()] == [("x", 1), ("y", 1)]
    lines = "\n".join(summary(evidence, are_log_odds=True))
    assert "rank correlation with ratings 1.0000" in lines
    assert "AUC of good against bad answers 0.5000" in lines  # 2 > 1, 0 < 1
    assert "pair accuracy" not in lines


def test_steps_of_several_answers_and_lists() -> None:
    example = Stepwise("p", ("a", "b"), (1.0, 0.2))
    evidence, [stepwise, pair, several] = heard(
        (example, Verdict(steps={"main": (0.9, 0.4)})),
        (Preference("p", "a", "b"), Verdict(steps={"chosen": (0.5,), "rejected": (0.2, 0.7)})),
        (Ranked("p", ("a", "b", "c")), Verdict({"item0": 1.0, "item1": 3.0, "item2": 2.0})),
    )
    assert stepwise == {"score": 0.4, "step_scores": [0.9, 0.4]}
    assert (pair["score_rejected"], pair["step_scores_chosen"], several) == (0.2, [0.5], {"scores": [1.0, 3.0, 2.0]})
    assert (evidence.named, evidence.true) == ([1], [1])
    assert evidence.margins == [0.3, -2.0, -1.0, 1.0]
    assert "calibration" not in "\n".join(summary(evidence, are_log_odds=False))

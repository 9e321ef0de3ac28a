"""`burnish data show` and `burnish data lint`, on a file and on a config, with a tokenizer from a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from burnish.cli.main import app
from burnish.testing.tiny import tiny_tokenizer

PAIR = {"prompt": "2 + 2 =", "chosen": " 4", "rejected": " 5"}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def burnish(*words: object) -> Result:
    return CliRunner().invoke(app, ["data", *map(str, words)])


def rows_file(folder: Path, *rows: Any) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_show_prints_rows_with_their_targets_marked(tmp_path: Path, tokenizer: str) -> None:
    path = rows_file(tmp_path, PAIR, {**PAIR, "prompt": "3 + 3 ="}, PAIR)
    result = burnish("show", path, "--tokenizer", tokenizer, "--rows", 1, "--start", 1)
    assert result.exit_code == 0, result.output
    assert "main: format preference" in result.output
    assert f"{path}:2  preference" in result.output
    assert "3 + 3 =⟦ 4<|im_end|>⟧" in result.output
    assert "2 + 2" not in result.output
    assert "there is no row 9" in burnish("show", path, "--tokenizer", tokenizer, "--start", 9).output


def test_lint_exits_by_what_it_finds(tmp_path: Path, tokenizer: str) -> None:
    clean = rows_file(tmp_path, PAIR, {**PAIR, "prompt": "3 + 3 ="})
    result = burnish("lint", clean, "--tokenizer", tokenizer)
    assert (result.exit_code, "2 usable; findings: 0" in result.output) == (0, True), result.output
    warned = rows_file(tmp_path, PAIR, PAIR)
    assert burnish("lint", warned, "--tokenizer", tokenizer).exit_code == 0
    assert burnish("lint", warned, "--tokenizer", tokenizer, "--strict").exit_code == 1
    wrong = rows_file(tmp_path, PAIR, {**PAIR, "rejected": " 4"})
    result = burnish("lint", wrong, "--tokenizer", tokenizer)
    assert result.exit_code == 1
    assert f"error chosen_is_rejected: 1 of 2 rows have chosen == rejected: a tie teaches nothing: {wrong}:2" in result.output


def test_a_config_names_sources_tokenizer_and_held_out_rows(tmp_path: Path, tokenizer: str) -> None:
    path = rows_file(tmp_path, PAIR)
    config = tmp_path / "run.yaml"
    config.write_text(
        f"model: {{name: {tokenizer}}}\ndata:\n  main: {{source: {path}, holdout: {path}}}\n  other: {{source: {path}}}\n",
        encoding="utf-8",
    )
    result = burnish("lint", config)
    assert result.exit_code == 1
    assert "error leaked: 1 of 1 rows ask what a held-out row asks" in result.output
    result = burnish("show", config, "--source", "other", "data.other.format=prompt", "--mask", "all")
    assert result.exit_code == 0, result.output
    assert "other: format prompt" in result.output
    assert "main: format" not in result.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "ROWS"], "give --tokenizer MODEL"),
        (["show", "./none.jsonl", "--tokenizer", "TOKENIZER"], "there is no data at"),
        (["show", "ROWS", "--tokenizer", "TOKENIZER", "--mask", "lsat"], "no mask 'lsat'. Did you mean 'last'?"),
        (["lint", "ROWS", "--tokenizer", "TOKENIZER", "--source", "mian"], "no data source 'mian'. Did you mean 'main'?"),
        (["lint", "ROWS", "--tokenizer", "TOKENIZER", "data.main.format=alpacca"], "Did you mean 'alpaca'?"),
    ],
)
def test_mistakes_are_one_message_and_exit_2(tmp_path: Path, tokenizer: str, words: list[str], said: str) -> None:
    places = {"ROWS": str(rows_file(tmp_path, PAIR)), "TOKENIZER": tokenizer}
    result = burnish(*(places.get(word, word) for word in words))
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())

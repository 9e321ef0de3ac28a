"""The first ten minutes of a new user: help, typos, wrong paths. Every answer is plain, short and says what to do."""

from __future__ import annotations

import pytest
from desk import PAIRS, TEXTS, Desk

from burnish.cli.main import COMMANDS

PARTS = [("data", "show"), ("data", "lint"), ("config", "show"), ("config", "schema")]
PARTS += [("plugins", "list"), ("plugins", "show"), ("plugins", "check")]


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS), *PARTS], ids=" ".join)
def test_help_is_plain(desk: Desk, command: tuple[str, ...]) -> None:
    said = desk.works(*command, "--help").out
    assert said.startswith("Usage: ")
    assert not {"─", "│", "╭", "\x1b"} & set(said)
    assert not command or "completion for the current shell" not in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("resume", "nowhere"), "nowhere is not a run: there is no nowhere/run.yaml"),
        (("generate", "/nowhere/model", "-p", "hi"), "no model at '/nowhere/model': there is no such folder."),
        (("generate", "nowhere", "-p", "hi"), "no model named 'nowhere'. Tried, for its tokenizer: a folder of that name"),
        (("export", "nowhere", "out"), "no model named 'nowhere'. Tried, for its tokenizer: a folder of that name"),
        (("plugins", "show", "dop"), "named 'dop'. Did you mean 'dpo'? `burnish plugins list` names them all."),
        (("plugins", "show", "nosuch"), "nothing of a plugin is named 'nosuch'. `burnish plugins list` names them all."),
        (("data", "show", "rows.jsonl"), "rows become tokens only with a tokenizer: give --tokenizer MODEL"),
        (("data", "show", "rows.jsnl", "--tokenizer", "{model}"), "no data at 'rows.jsnl'. Did you mean 'rows.jsonl'? "),
        (("plan", "nofile.yaml"), "there is no config file nofile.yaml. {folder} holds run.yaml."),
        (("train", "rows.jsonl"), "rows.jsonl:2: not YAML: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_is_not_there(desk: Desk, arguments: tuple[str, ...], said: str) -> None:
    desk.rows(TEXTS)
    desk.config()
    asked = [argument.format(model=desk.model) for argument in arguments]
    assert said.format(folder=desk.folder) in desk.refused(*asked)


def test_a_folder_that_is_no_run(desk: Desk) -> None:
    assert desk.refused("resume", desk.model) == f"{desk.model} is not a run: there is no {desk.model}/run.yaml"


def test_rows_of_a_table(desk: Desk) -> None:
    desk.write("sums.csv", "question,answer\n1 + 1 =,2\n2 + 2 =,04\n")
    asked = ("data", "show", "sums.csv", "--tokenizer", desk.model)
    assert "no format knows rows with keys question, answer (first: row 0 of sums.csv)." in desk.refused(*asked)
    columns = "data.main.columns={prompt: question, completion: answer}"
    said = desk.works(*asked, columns).out
    assert "format prompt_completion" in said
    assert "1 + 1 =⟦2<|im_end|>⟧" in said
    assert "2 + 2 =⟦04<|im_end|>⟧" in said  # a cell is text, not the number 4
    columns = columns.replace("question", "questoin")
    said = "row 0 of sums.csv has no column 'questoin', which `columns` names. Did you mean 'question'?"
    assert desk.refused(*asked, columns).startswith(said)


def test_a_run_is_looked_at_and_asked(desk: Desk) -> None:
    desk.rows(PAIRS)
    desk.config(["dpo"])
    told = desk.works().err
    assert told.splitlines()[-1] == f"model: {desk.run}/model"
    assert desk.works("generate", desk.run, "-p", "1 + 1 =", "--max-new-tokens", 2).out
    message = desk.refused("generate", desk.run, "--step", 9, "-p", "hi")
    assert message == f"{desk.run}/checkpoints does not have the checkpoint of step 9; it has the steps none"

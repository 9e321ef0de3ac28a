"""Rows that cannot be trained on: one message with file and row, before any weights are read, and nothing left behind."""

from __future__ import annotations

from typing import Any

import pytest
from desk import PAIRS, TEXTS, Desk

ASK = {"role": "user", "content": "hi"}
ANSWERED = {"messages": [ASK, {"role": "assistant", "content": "hello"}]}
UNANSWERED = {"messages": [ASK]}


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv", "rows.parquet", "rows.txt"])
def test_an_empty_file(desk: Desk, name: str) -> None:
    path = desk.write(name, "")
    desk.config(data={"main": {"source": f"./{name}"}})
    assert desk.refused() == f"data.main: {path} has no rows: it is {name} (0 bytes)"


def test_no_file(desk: Desk) -> None:
    desk.rows(TEXTS)
    desk.config(data={"main": {"source": "./row.jsonl"}})
    assert desk.refused() == f"there is no data at {desk.folder}/row.jsonl. Did you mean 'rows.jsonl'?"


def test_one_broken_line(desk: Desk) -> None:
    path = desk.rows(TEXTS)
    path.write_text(path.read_text().replace(' is", "completion": " 8"}', ' is", "completion": '))
    desk.config()
    row = '{"prompt": "twice 4 is", "completion":'
    assert desk.refused() == f"{path}:5: broken JSON: Expecting value (column {len(row) + 1}), after {row!r}"


def test_rows_of_two_kinds(desk: Desk) -> None:
    path = desk.rows([*TEXTS, *PAIRS[:7]])
    desk.config()
    message = desk.refused()
    assert message.startswith("data.main: rows of several forms: 12 of 19 rows looked at are prompt_completion, 7 are not\n")
    assert f"{path}:13: keys prompt, chosen, rejected, looks like preference; expected text" in message
    assert "and 2 more" in message
    assert message.endswith("Split them into two sources, name one `format:`, or mend the rows.")


def test_rows_of_two_kinds_where_detection_no_longer_looks(desk: Desk) -> None:
    path = desk.rows([*(TEXTS * 84), PAIRS[0]])  # the first 1000 rows tell the format
    desk.config()
    message = desk.refused()
    assert message.startswith("data.main: 1 of 1009 rows cannot be used:\n")
    assert f"{path}:1009 (keys prompt, chosen, rejected) is not a row of format 'prompt_completion': expected text" in message
    assert message.endswith("Mend them, or set data.main.bad_rows to drop.")
    desk.config(data={"main": {"bad_rows": "drop"}}, train={"steps": 1})
    assert f"1 dropped, not of the source's format: {path}:1009" in desk.works().err


def test_a_preference_that_prefers_nothing(desk: Desk) -> None:
    ties = [{**row, "rejected": row["chosen"]} for row in PAIRS]
    desk.rows(ties)
    desk.config(["dpo"])
    assert desk.refused() == "data.main: chosen equals rejected in all 16 rows; there is no preference to learn"
    path = desk.rows([*ties[:2], *PAIRS[2:]])
    told = desk.works().err
    assert f"2 rows have chosen == rejected: a tie teaches nothing: {path}:1; {path}:2\n" in told
    lint = desk.burnish("data", "lint", desk.file)
    assert lint.code == 1
    assert "error chosen_is_rejected: 2 of 16 rows" in lint.out


def test_a_row_without_targets(desk: Desk) -> None:
    # A text of which only the end of sequence is left has one token, and token 0 is never a target.
    path = desk.rows([{"text": "one two"}, {"text": ""}, {"text": "three"}])
    desk.config(train={"batch_size": 2, "steps": 1})
    assert f"1 dropped, without a target token: {path}:2: no target token\n" in desk.works().err


@pytest.mark.parametrize(
    ("row", "reason"),
    [({"text": ""}, "no target token"), (UNANSWERED, "the chat has no assistant turn")],
)
def test_no_row_with_targets(desk: Desk, row: dict[str, Any], reason: str) -> None:
    path = desk.rows([row, row])
    desk.config()
    assert desk.refused() == (
        "data.main: no row is left of 2:\n"
        f"  2 dropped, without a target token: {path}:1: {reason}; {path}:2: {reason}\n"
        "A row needs an answer to learn: `burnish data show` prints rows with what is trained on marked."
    )


def test_a_chat_without_assistant_turn(desk: Desk) -> None:
    path = desk.rows([ANSWERED, UNANSWERED, ANSWERED])
    desk.config(train={"batch_size": 2, "steps": 1})
    assert f"1 dropped, without a target token: {path}:2: the chat has no assistant turn\n" in desk.works().err


def test_a_prompt_longer_than_the_limit(desk: Desk) -> None:
    path = desk.rows([*TEXTS, {"prompt": "a" * 100, "completion": " b"}])
    dropped = f"{path}:13: 103 tokens, render.max_length is 50"  # 100 bytes of prompt, two of answer, its end
    for overlength, told in (
        ("drop", f"1 dropped, longer than render.max_length: {dropped}\n"),
        ("truncate", f"1 dropped, without a target token: {path}:13: the prompt alone fills render.max_length\n"),
    ):
        output = str(desk.folder / overlength)
        desk.config(render={"max_length": 50, "overlength": overlength}, train={"steps": 1}, output=output)
        assert told in desk.works().err
    desk.config(render={"max_length": 50, "overlength": "error"})
    remedy = "Raise render.max_length, or set render.overlength to truncate."
    assert desk.refused() == f"data.main: 1 of 13 rows are too long: {dropped}\n{remedy}"
    desk.config(render={"max_length": 4})
    message = desk.refused()
    assert message.startswith("data.main: no row is left of 13:\n  13 dropped, longer than render.max_length: ")
    assert message.endswith(remedy)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "what is it?", "completion": " a cat", "images": ["cat.png"]},
        {"messages": [{"role": "user", "content": [{"type": "image", "image": "cat.png"}]}, ANSWERED["messages"][1]]},
    ],
)
def test_images_for_a_model_of_text(desk: Desk, row: dict[str, Any]) -> None:
    path = desk.rows([row])
    desk.config()
    assert desk.refused() == (
        f"data.main: 1 of 1 rows cannot be used:\n  {path}:1: it has images, but the model reads text only; use a "
        "vision-language model or rows without images\nMend them, or set data.main.bad_rows to drop."
    )


def test_a_data_set_of_the_hub_without_a_network(desk: Desk) -> None:
    desk.config(data={"main": {"source": "someone/something"}})
    message = desk.refused()
    assert message.startswith("there is no data at 'someone/something'. Tried: files of that name under ")
    assert "a plugin's source (Known: " in message
    assert "split 'train' of the data set 'someone/something' on the Hugging Face hub or in its cache" in message


@pytest.mark.parametrize(
    ("rows", "objective", "said"),
    [
        (TEXTS, ["dpo"], "objective.0: dpo needs preference data; source 'main' holds prompt_completion. Name a fitting one"),
        (PAIRS, ["dpo", "sft"], "objective.1: sft reads single sequences, but source 'main' holds preference rows"),
        (PAIRS, [{"sft": {"on": "chose"}}], "objective.0: sft: preference rows have no `on: chose`. Did you mean 'chosen'?"),
        (TEXTS, [{"sft": {"targets": "al"}}], "sft: prompt_completion rows have no `targets: al`. Did you mean 'all'?"),
    ],
)
def test_parts_that_need_other_data(desk: Desk, rows: list[Any], objective: list[Any], said: str) -> None:
    desk.rows(rows)
    desk.config(objective)
    message = desk.refused()
    assert message.startswith(f"{desk.file}:")
    assert said in message

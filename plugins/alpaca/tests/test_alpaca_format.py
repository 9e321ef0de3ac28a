"""Instructions become one question in the user's words."""

from __future__ import annotations

from typing import Any

import pytest
from burnish_alpaca.format import SELF_INSTRUCT_EXAMPLES, Alpaca, AlpacaPreference, SelfInstruct

from burnish import registry as plugins
from burnish.data.detect import detect_format
from burnish.data.examples import Preference, PromptCompletion, RowError


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def test_instruction_input_and_output() -> None:
    row = {"instruction": "Translate.", "input": "Good day", "output": "Bonjour", "source": "book"}
    example = Alpaca().convert(row)
    assert example == PromptCompletion(
        (message("user", "Translate.\n\nGood day"),), (message("assistant", "Bonjour"),), side=example.side
    )
    assert example.columns == {"source": "book"}


@pytest.mark.parametrize("empty", ["", None])
def test_without_an_input_the_instruction_stands_alone(empty: str | None) -> None:
    assert Alpaca().convert({"instruction": "Say hi.", "input": empty, "output": "hi"}).prompt == (message("user", "Say hi."),)


def test_system_and_history_come_first() -> None:
    row = {"instruction": "And 3 + 3?", "output": "6", "system": "Count.", "history": [["2 + 2?", "4"]]}
    assert [turn["role"] for turn in Alpaca().convert(row).prompt if isinstance(turn, dict)] == [
        "system", "user", "assistant", "user",
    ]  # fmt: skip


def test_preferences_are_told_from_answers_by_what_they_explain() -> None:
    answers = [{"instruction": "a", "input": "", "output": "b"}]
    pairs = [{**answers[0], "chosen": "b", "rejected": "c"}]
    registry = plugins.load()
    assert detect_format(answers, registry).name == "alpaca"
    assert detect_format(pairs, registry).name == "alpaca_preference"
    preference = AlpacaPreference().convert(pairs[0])
    assert isinstance(preference, Preference)
    assert (preference.chosen, preference.rejected) == ((message("assistant", "b"),), (message("assistant", "c"),))


def test_every_instance_of_an_instruction_is_an_example() -> None:
    assert [(one.prompt[-1], one.completion) for one in SelfInstruct().convert(SELF_INSTRUCT_EXAMPLES[0])] == [
        (message("user", "Name a colour."), (message("assistant", "Blue."),)),
        (message("user", "Name a colour.\n\nWarm."), (message("assistant", "Red."),)),
    ]
    with pytest.raises(RowError, match=r"expected a list of {input, output} in 'instances', found list \[3\]"):
        SelfInstruct().convert({"instruction": "a", "instances": [3]})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"output": 3}, "expected text in 'output', found int 3"),
        ({"instruction": None}, "expected text in 'instruction', found nothing"),
        ({"input": ["x"]}, "expected text in 'input'"),
        ({"history": ["x"]}, "pairs of question and answer in 'history'"),
    ],
)
def test_bad_rows_are_said(change: dict[str, Any], said: str) -> None:
    with pytest.raises(RowError, match=said):
        Alpaca().convert({"instruction": "a", "input": "", "output": "b", **change})

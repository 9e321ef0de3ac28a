"""The Alpaca form: `instruction`, `input` (often empty), and `output` or `chosen` and `rejected`.

Rows become conversations, so that the model's own chat template writes them; the wording of the Alpaca project is the template
`model.chat_template: alpaca`. Further columns: `system`, and `history`, a list of [question, answer].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.data.examples import Message, Preference, PromptCompletion, Row, RowError
from burnish.data.formats.columns import brief, side

ASKED = ("instruction", "input", "system", "history")
EXAMPLES: list[dict[str, Any]] = [
    {"instruction": "Name a colour.", "input": "", "output": "Blue."},
    {"instruction": "Translate to French.", "input": "Good day", "output": "Bonjour", "system": "You translate."},
    {"instruction": "And 3 + 3?", "input": None, "output": "6", "history": [["What is 2 + 2?", "4"]]},
]
PREFERENCE_EXAMPLES: list[dict[str, Any]] = [
    {"instruction": "Name a colour.", "input": "", "chosen": "Blue.", "rejected": "Table.", "output": "Blue."},
]
SELF_INSTRUCT_EXAMPLES: list[dict[str, Any]] = [
    {"instruction": "Name a colour.", "instances": [{"input": "", "output": "Blue."}, {"input": "Warm.", "output": "Red."}]},
]


class Alpaca:
    """An instruction and its answer."""

    name = "alpaca"
    kind = "prompt_completion"

    def sniff(self, row: Row) -> float:
        """Its columns that are there, when both needed ones hold text."""
        return _explained(row, ("output",))

    def convert(self, row: Row) -> PromptCompletion:
        """One question in the user's words, one answer."""
        return PromptCompletion(_prompt(row), _answer(row, "output"), side=side(row, (*ASKED, "output")))


class AlpacaPreference:
    """An instruction and two answers."""

    name = "alpaca_preference"
    kind = "preference"

    def sniff(self, row: Row) -> float:
        """Its columns that are there, when all needed ones hold text."""
        return _explained(row, ("chosen", "rejected"))

    def convert(self, row: Row) -> Preference:
        """One question in the user's words, two answers."""
        return Preference(
            _prompt(row), _answer(row, "chosen"), _answer(row, "rejected"), side=side(row, (*ASKED, "chosen", "rejected"))
        )


class SelfInstruct:
    """An instruction, and instances of it: inputs with their outputs."""

    name = "self_instruct"
    kind = "prompt_completion"

    def sniff(self, row: Row) -> float:
        """2 when `instances` is a list beside an instruction."""
        instances = row.get("instances")
        return 2.0 * (isinstance(row.get("instruction"), str) and isinstance(instances, (list, tuple)) and len(instances) > 0)

    def convert(self, row: Row) -> tuple[PromptCompletion, ...]:
        """One example for each instance."""
        instances = row.get("instances")
        if not isinstance(instances, (list, tuple)) or not instances or not all(isinstance(one, Mapping) for one in instances):
            raise RowError(f"expected a list of {{input, output}} in 'instances', found {brief(instances)}")
        extra = side(row, ("instruction", "instances"))
        whole = [{"instruction": row.get("instruction"), **instance} for instance in instances]
        return tuple(PromptCompletion(_prompt(one), _answer(one, "output"), side=extra) for one in whole)


def _explained(row: Row, answers: tuple[str, ...]) -> float:
    if not all(isinstance(row.get(column), str) for column in ("instruction", *answers)):
        return 0.0
    return float(len(answers) + sum(column in row for column in ASKED))


def _prompt(row: Row) -> tuple[Message, ...]:
    system, history = row.get("system"), row.get("history") or []
    messages = [_message("system", system, "system")] if system else []
    if not isinstance(history, list | tuple):
        raise RowError(f"expected a list of pairs in 'history', found {brief(history)}")
    for turn in history:
        if not isinstance(turn, (list, tuple)) or len(turn) != 2:
            raise RowError(f"expected pairs of question and answer in 'history', found {brief(turn)}")
        messages += [_message("user", turn[0], "history"), _message("assistant", turn[1], "history")]
    question = _message("user", row.get("instruction"), "instruction")
    if row.get("input"):
        question["content"] += "\n\n" + _message("user", row["input"], "input")["content"]
    return (*messages, question)


def _answer(row: Row, column: str) -> tuple[Message, ...]:
    return (_message("assistant", row.get(column), column),)


def _message(role: str, text: object, column: str) -> Message:
    if not isinstance(text, str):
        raise RowError(f"expected text in '{column}', found {brief(text)}")
    return {"role": role, "content": text}

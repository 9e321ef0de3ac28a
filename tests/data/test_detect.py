"""Detection looks at many rows, names every row that disagrees, and names the format plugin that fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from burnish.data.detect import convert, detect_format, load_format
from burnish.data.examples import Example, Prompt, Row, RowError, Text
from burnish.errors import DataError, PluginError
from burnish.registry import FormatRecord, Registry, load

PAIR = {"prompt": "p", "chosen": "a", "rejected": "b"}
PLAIN = {"prompt": "p", "completion": "a"}


class Failing:
    """A format that breaks on the word it was given."""

    name = "failing"
    kind = "text"

    def __init__(self, where: str) -> None:
        self.where = where

    def sniff(self, row: Row) -> float:
        if self.where == "sniff":
            raise KeyError("no such thing")
        return 1.0

    def convert(self, row: Row) -> Example:
        raise ZeroDivisionError("division by zero")


class Breaking(Failing):
    """A format that converts to what it does not promise."""

    def __init__(self, made: Callable[[Row], Any]) -> None:
        super().__init__("convert")
        self.made = made

    def convert(self, row: Row) -> Example:
        example: Example = self.made(row)
        return example


class FakeRegistry(Registry):
    """The installed formats, and one more."""

    def __init__(self, extra: Any) -> None:
        self._real, self._extra = load(), extra

    def records(self, kind: Any) -> Any:
        return (*self._real.records(kind), replace(self._real.get(FormatRecord, "text"), name="failing"))

    def find(self, kind: Any, value: str) -> Any:
        return self._extra if value == "failing" else self._real.find(kind, value)


def test_rows_of_two_kinds_are_each_named(registry: Registry) -> None:
    rows = [PAIR] * 7 + [PLAIN] + [PAIR] * 3 + [{"text": "x"}]
    with pytest.raises(DataError) as error:
        detect_format(rows, registry, location=lambda index: f"f.jsonl:{index + 1}")
    said = str(error.value)
    assert "10 of 12 rows looked at are preference, 2 are not" in said
    assert "f.jsonl:8: keys prompt, completion, looks like prompt_completion; expected" in said
    assert "in 'chosen'" in said
    assert "f.jsonl:12: keys text, looks like text" in said


def test_a_format_that_fits_all_rows_in_part_does_not_hide_a_mixture(registry: Registry) -> None:
    """`prompt` explains one column of each of these rows; still they are of two kinds."""
    with pytest.raises(DataError, match="3 of 4 rows looked at are prompt, 1 are not"):
        detect_format([{"prompt": "p"}] * 3 + [PLAIN], registry)


def test_mixed_lets_them_pass_and_named_formats_ask_nobody(registry: Registry) -> None:
    assert detect_format([PAIR] * 3 + [PLAIN], registry, mixed=True).name == "preference"
    assert detect_format([PAIR, PLAIN], registry, "prompt").name == "prompt"


def test_unknown_rows_and_no_rows(registry: Registry) -> None:
    with pytest.raises(DataError, match=r"no format knows rows with keys question, answer \(first: row 0\).*Known: alpaca"):
        detect_format([{"question": "q", "answer": "a"}], registry)
    with pytest.raises(DataError, match=r"If this is one column too few, set `delimiter: ';'`\. Rename them with `columns: {p"):
        detect_format([{"prompt;completion": "q;a"}], registry)
    with pytest.raises(DataError, match="no rows"):
        detect_format([], registry)
    with pytest.raises(PluginError, match=r"no format named 'alpacca'. Did you mean 'alpaca'\?"):
        load_format("alpacca", registry)


def test_an_answer_that_is_not_text_makes_no_prompt_of_the_row(registry: Registry) -> None:
    with pytest.raises(DataError, match=r"no format knows .* As prompt_completion: .*'completion'; found int 2\."):
        detect_format([{"prompt": "1 + 1 =", "completion": 2}], registry)


def test_a_format_that_breaks_its_promise_is_named_with_the_row() -> None:
    with pytest.raises(PluginError, match=r"'failing' promises text examples, .* made dict of f:3 \(keys text\)"):
        convert(Breaking(lambda row: dict(row)), {"text": "x"}, "f:3")
    with pytest.raises(RowError, match=r"f:3 .*expected text or a tuple of messages, found list"):
        convert(Breaking(lambda row: Prompt([row])), {"text": "x"}, "f:3")  # type: ignore[arg-type]


def test_a_format_that_raises_is_named_with_the_row() -> None:
    with pytest.raises(PluginError, match=r"format 'failing' .*failed in sniff\(\) on row 0 \(keys text\): KeyError"):
        detect_format([{"text": "x"}], FakeRegistry(Failing("sniff")))
    with pytest.raises(PluginError, match=r"format 'failing' .*failed in convert\(\) on f:3 \(keys text\): ZeroDivisionError"):
        convert(Failing("convert"), {"text": "x"}, "f:3")


def test_equally_good_formats_are_both_named() -> None:
    with pytest.raises(DataError, match="failing and text equally well; say which"):
        detect_format([{"text": "x"}], FakeRegistry(Failing("convert")))


def test_what_is_no_format_is_refused() -> None:
    with pytest.raises(PluginError, match="is not a format"):
        detect_format([{"text": "x"}], FakeRegistry(object()), "failing")


def test_a_row_error_names_row_keys_and_expectation(registry: Registry) -> None:
    known = load_format("text", registry)
    assert convert(known, {"text": "x"}, "f:1") == (Text("x"),)
    said = r"f:2 \(keys prompt\) is not a row of format 'text': expected text in 'text'; found nothing"
    with pytest.raises(RowError, match=said):
        convert(known, {"prompt": "x"}, "f:2")

"""Lint finds each of its faults, and only those."""

from __future__ import annotations

from typing import Any

import pytest

from burnish.config.sections import RenderSection, SourceSection
from burnish.data.lint import lint
from burnish.data.prepare import Reader, open_reader
from burnish.data.render import Renderer
from burnish.registry import Registry
from burnish.testing.tiny import tiny_tokenizer

ASK, FOUR = {"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}
PAIR = {"prompt": "p", "chosen": "a", "rejected": "b"}


def reader(registry: Registry, rows: list[Any]) -> Reader:
    return open_reader("main", SourceSection(source="live", bad_rows="drop"), registry, rows)


def found(registry: Registry, rows: list[Any], held_out: list[Any] | None = None, tokenizer: Any = None) -> dict[str, str]:
    renderer = Renderer(tokenizer or tiny_tokenizer(), RenderSection(max_length=60))
    _, findings = lint(reader(registry, rows), renderer, reader(registry, held_out) if held_out else None)
    return {finding.check: f"{finding.level}: {finding.text}" for finding in findings}


def test_clean_rows_have_no_findings(registry: Registry) -> None:
    assert found(registry, [PAIR, {**PAIR, "prompt": "q"}]) == {}


@pytest.mark.parametrize(
    ("rows", "check", "said"),
    [
        ([PAIR, {**PAIR, "rejected": "a"}], "chosen_is_rejected", "error: 1 of 2 rows have chosen == rejected"),
        ([PAIR, PAIR], "duplicate", "warning: 1 of 2 rows repeat an earlier row: row 1"),
        ([PAIR, {**PAIR, "chosen": "x" * 70}], "over_length", "warning: 1 of 2 rows are longer than render.max_length: row 1"),
        (
            [{"messages": [ASK, FOUR]}, {"messages": [ASK]}],
            "no_targets",
            "error: 1 of 2 rows are without a target token: row 1",
        ),
        ([PAIR, {"text": "x"}], "bad_row", "error: 1 of 2 rows are not of the source's format: row 1"),
        ([{"text": "abc"}], "first_target_lost", "warning: 1 of 1 rows begin with a target that nothing precedes"),
        ([{"messages": [ASK, {**FOUR, "tool_calls": [{"function": {}}]}]}], "tools_unseen", "error: 1 of 1 rows have tools or"),
        (
            [{"prompt": "p", "completion": str(n), "label": n > 0} for n in range(11)],
            "label_imbalance",
            "warning: 90.9% of 11 labels",
        ),
        (
            [{"prompt": "p", "completions": ["a"] * 11, "labels": [0] + [1] * 10}],
            "label_imbalance",
            "warning: 90.9% of 11 labels",
        ),
    ],
)
def test_each_fault_is_found(registry: Registry, rows: list[Any], check: str, said: str) -> None:
    findings = found(registry, rows)
    assert list(findings) == [check]
    assert findings[check].startswith(said)


def test_leakage_is_found_by_prompt(registry: Registry) -> None:
    findings = found(registry, [PAIR, {**PAIR, "prompt": "q"}], held_out=[{**PAIR, "chosen": "other"}])
    assert findings == {"leaked": "error: 1 of 2 rows ask what a held-out row asks: row 0 of the given rows"}


def test_an_answer_without_an_end_is_found(registry: Registry) -> None:
    endless = tiny_tokenizer()
    endless.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    assert list(found(registry, [{"messages": [ASK, FOUR]}], tokenizer=endless)) == ["no_end_of_turn"]


def test_a_prompt_that_is_no_prefix_is_found(registry: Registry) -> None:
    template = tiny_tokenizer()
    template.chat_template = template.chat_template.replace("<|im_start|>assistant\n", "<|im_start|>assistant\n<think>")
    rows = [{"prompt": [ASK], "completion": [FOUR]}]
    assert list(found(registry, rows, tokenizer=template)) == ["prompt_not_prefix"]

"""Every installed format recognises and converts the rows it names; the built-in ones read TRL's columns as TRL does."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from burnish import registry as plugins
from burnish.data import examples as kinds
from burnish.data.detect import convert, detect_format, load_format
from burnish.data.examples import KINDS, RowError, Side
from burnish.data.formats import builtin
from burnish.data.formats.columns import message, shared_prompt
from burnish.registry import FormatRecord, Registry

RECORDS = plugins.load().records(FormatRecord)
ASK = {"role": "user", "content": "2 + 2?"}
FOUR = {"role": "assistant", "content": "4"}
FIVE = {"role": "assistant", "content": "5"}


def rows_of(record: FormatRecord) -> list[dict[str, Any]]:
    module, _, name = record.examples.partition(":")
    rows: list[dict[str, Any]] = getattr(import_module(module), name)
    return rows


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_every_format_knows_its_own_rows(record: FormatRecord, registry: Registry) -> None:
    known = load_format(record.name, registry)
    assert (known.name, known.kind) == (record.name, record.kind)
    for row in rows_of(record):
        assert known.sniff(row) > 0
        assert all(isinstance(example, KINDS[record.kind]) for example in convert(known, row, "row 0"))
        assert not known.sniff({"nothing": 1})
        with pytest.raises(RowError, match="expected"):
            known.convert({"nothing": 1})


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_every_format_is_detected_among_all_others(record: FormatRecord, registry: Registry) -> None:
    assert detect_format(rows_of(record), registry).name == record.name


def test_records_and_formats_of_the_core_agree() -> None:
    ours = {record.name: record.kind for record in RECORDS if record.target.startswith("burnish.")}
    assert ours == {known.name: known.kind for known in builtin.FORMATS}


def test_implicit_prompt_of_texts_leaves_the_space_to_the_completions() -> None:
    assert shared_prompt(["2 + 2 = 4", "2 + 2 = 5"]) == ("2 + 2 =", [" 4", " 5"])
    assert shared_prompt(["yes", "no"]) == ("", ["yes", "no"])
    assert shared_prompt(["same", "same"]) == ("", ["same", "same"])
    assert shared_prompt(["ab", "abc"]) == ("ab", ["", "c"])


def test_implicit_prompt_of_conversations_ends_before_an_assistant_turn() -> None:
    again = {"role": "user", "content": "Sure?"}
    assert shared_prompt([(ASK, FOUR), (ASK, FIVE)]) == ((ASK,), [(FOUR,), (FIVE,)])
    assert shared_prompt([(ASK, FOUR), (ASK, FOUR)]) == ((ASK,), [(FOUR,), (FOUR,)])
    # They part at what the user says, so the last answer that both give stays with the completions.
    parted = [(FOUR, again, FOUR), (FOUR, ASK, FIVE)]
    assert shared_prompt([(ASK, *rest) for rest in parted]) == ((ASK,), parted)
    with pytest.raises(RowError, match="share a prompt"):
        shared_prompt([(FOUR,), (FIVE,)])
    with pytest.raises(RowError, match="found both"):
        shared_prompt(["text", (ASK, FOUR)])


def test_side_columns_and_what_is_left_for_rewards() -> None:
    tools = '[{"name": "add"}]'
    row = {
        "prompt": "p",
        "completion": "c",
        "tools": tools,
        "weight": 2,
        "margin": None,
        "answer": "4",
        "chat_template_kwargs": {"thinking": False, "unset": None},
    }
    assert builtin.prompt_completion.convert(row).side == Side(
        tools=({"name": "add"},), chat_template_kwargs={"thinking": False}, weight=2.0, columns={"answer": "4"}
    )
    with pytest.raises(RowError, match="number in 'weight', found str 'much'"):
        builtin.prompt_completion.convert({**row, "weight": "much"})
    with pytest.raises(RowError, match="JSON in 'tools'"):
        builtin.prompt_completion.convert({**row, "tools": "[{"})


def test_messages_lose_the_nulls_that_arrow_fills_in_and_text_parts_are_joined() -> None:
    call = {"function": {"name": "add", "arguments": {"a": 1, "b": None}}, "id": None}
    assert message({"role": "assistant", "content": None, "tool_calls": [call], "name": None}) == {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}],
    }
    call = {"function": {"name": "add", "arguments": '{"a": 1}'}}
    parsed = message({"role": "assistant", "content": "", "tool_calls": [call]})["tool_calls"]
    assert parsed == [{"function": {"name": "add", "arguments": {"a": 1}}}], "as chat templates want it"
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert message({"role": "user", "content": parts})["content"] == "ab"


def test_a_message_says_something() -> None:
    with pytest.raises(RowError, match="'content' in the message of 'assistant'; its keys are role, text"):
        message({"role": "assistant", "text": "4"})
    with pytest.raises(RowError, match="text in 'content' of the message of 'user'; found int 4"):
        message({"role": "user", "content": 4})
    assert message({"role": "assistant", "thinking": "two and two"})["content"] == ""


def test_a_single_message_and_a_chat_with_a_label_are_understood() -> None:
    preference = builtin.preference.convert({"prompt": [ASK], "chosen": FOUR, "rejected": FIVE})
    assert preference == kinds.Preference((ASK,), (FOUR,), (FIVE,))
    unpaired = builtin.unpaired_chat.convert({"messages": [ASK, FOUR], "label": 0})
    assert unpaired == kinds.Unpaired((ASK,), (FOUR,), False)
    with pytest.raises(RowError, match="ends with an assistant turn"):
        builtin.unpaired_chat.convert({"messages": [FOUR, ASK], "label": 1})


def test_mixed_forms_within_a_row_are_refused() -> None:
    with pytest.raises(RowError, match="found both"):
        builtin.preference.convert({"prompt": [ASK], "chosen": "4", "rejected": [FIVE]})


def test_trajectories_align_numbers_with_all_ids() -> None:
    row = {
        "prompt_ids": [5, 6],
        "completion_ids": [7, 8, 9],
        "completion_mask": [1, 0, 1],
        "advantages": 0.5,
        "old_logps": [-1.0, -2.0, -3.0],
        "old_values": 0.25,
        "task": "sum",
        "truncated": True,
        "reward": 2,
    }
    got = builtin.trajectory.convert(row)
    assert got == kinds.Trajectory(
        (5, 6, 7, 8, 9),
        ((2, 3), (4, 5)),
        {"advantages": (0, 0, 0.5, 0.5, 0.5), "old": (0, 0, -1, -2, -3), "old_value": (0, 0, 0.25, 0.25, 0.25)},
        {"truncated": 1.0, "reward": 2.0},
        side=Side(columns={"task": "sum", "truncated": True, "reward": 2}),
    )
    with pytest.raises(RowError, match=r"one per completion id \(3\) in 'old_logps', found"):
        builtin.trajectory.convert({**row, "old_logps": [-1.0, -2.0]})
    with pytest.raises(RowError, match="completion_mask"):
        builtin.trajectory.convert({**row, "completion_mask": [1]})


def test_counts_must_fit() -> None:
    with pytest.raises(RowError, match="2 steps and 1 labels"):
        builtin.stepwise.convert({"prompt": "p", "completions": ["a", "b"], "labels": [True]})
    with pytest.raises(RowError, match="at least two completions"):
        builtin.ranked.convert({"prompt": "p", "completions": ["a"]})

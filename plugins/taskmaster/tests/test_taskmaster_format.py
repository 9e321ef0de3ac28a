"""Dialogues with API calls become chats with tool calls; marked turns become unpaired answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from burnish_taskmaster.format import EXAMPLES, REWARD_EXAMPLES, Taskmaster, TaskmasterReward

from burnish import registry as plugins
from burnish.data.detect import detect_format
from burnish.data.examples import RowError

MENU = {"type": "function", "function": {"name": "get_menu_items", "arguments": {"query": "mocha"}}}


def test_calls_stand_between_what_the_user_says_and_the_answer() -> None:
    assert Taskmaster().convert(EXAMPLES[0]).messages == (
        {"role": "user", "content": "A mocha, please."},
        {"role": "assistant", "content": "", "tool_calls": [MENU]},
        {"role": "tool", "name": "get_menu_items", "content": '{"menu_items": ["mocha-1"]}'},
        {"role": "assistant", "content": "One mocha."},
    )


def test_a_marked_call_is_an_unpaired_answer() -> None:
    example = TaskmasterReward().convert(REWARD_EXAMPLES[0])
    assert example.prompt == (
        {"role": "assistant", "content": "Welcome."},
        {"role": "user", "content": "A mocha, please."},
    )
    assert example.completion == ({"role": "assistant", "content": "", "tool_calls": [MENU]},)
    assert example.label is True
    assert example.columns == {"conversation_id": "1"}


def test_answers_of_the_api_are_turns_of_the_tool() -> None:
    context = [{"role": "agent", "api": {"f": {}}}, {"role": "api", "response": {"f": {"price": "3 €"}}}]
    row = {**REWARD_EXAMPLES[0], "context": json.dumps(context), "reward": 0}
    example = TaskmasterReward().convert(row)
    assert example.prompt[1] == {"role": "tool", "name": "f", "content": '{"price": "3 €"}'}
    assert example.label is False


def test_both_forms_are_found_by_themselves() -> None:
    assert detect_format(EXAMPLES, plugins.load()).name == "taskmaster"
    assert detect_format(REWARD_EXAMPLES, plugins.load()).name == "taskmaster_reward"


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ({"speaker": "robot", "text": "x"}, "unknown speaker 'robot'"),
        ({"speaker": "user", "text": "x", "annotations": [{"name": "request"}]}, "expected annotations in groups"),
        ({"speaker": "user"}, "expected a list of turns"),
    ],
)
def test_bad_dialogues_are_said(turn: dict[str, Any], expected: str) -> None:
    with pytest.raises(RowError, match=expected):
        Taskmaster().convert({"utterances": [turn]})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"reward": 0.5}, "expected 1 or 0 in 'reward', found float 0.5"),
        ({"context": "["}, "expected JSON in 'context'"),
        ({"context": "{}"}, "expected a list of turns in 'context'"),
        ({"context": None}, "expected JSON in 'context', found nothing"),
        ({"generation": '{"role": "user", "text": "x"}'}, "expected a turn of the agent .* found one of the user"),
        ({"generation": '{"role": "agent", "api": {"a": 1, "b": 2}}'}, "one api call or one response"),
        ({"generation": "3"}, "expected a turn with role and text"),
    ],
)
def test_bad_marks_are_said(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(RowError, match=expected):
        TaskmasterReward().convert({**REWARD_EXAMPLES[0], **change})

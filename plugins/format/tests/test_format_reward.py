"""Rewards for form: what keeps to it, what nearly does."""

from __future__ import annotations

from typing import Any

import pytest
from burnish_format.reward import Json, Regex, Tags

from burnish.errors import RewardError
from burnish.registry import load
from burnish.rollout.rewards import load_reward, run_rewards
from burnish.testing import check_reward

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "of": {"$ref": "#/$defs/count"}},
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"count": {"type": "integer", "minimum": 0}},
}


@pytest.mark.parametrize(
    ("text", "plain", "only"),
    [
        ("<think>a</think><answer>b</answer>", 1, 1),
        ("\n <think>a\nb</think>\n\n<answer>c</answer>\n", 1, 1),
        ("<think></think><answer></answer>", 1, 1),
        ("<think>a</think> so <answer>b</answer> done", 1, 0),
        ("well <think>a</think><answer>b</answer>", 0, 0),
        ("<answer>b</answer><think>a</think>", 0, 0),
        ("<think>a<answer>b</think></answer>", 0, 0),
        ("<think>a<think>b</think></think><answer>c</answer>", 0, 0),
        ("<think>a</think><answer>b</answer><answer>c</answer>", 0, 0),
        ("<think>a</think><answer>b", 0, 0),
        ("", 0, 0),
    ],
)
def test_tags(text: str, plain: int, only: int) -> None:
    assert Tags(tags=("think", "answer"))([text]) == [plain]
    assert Tags(tags=("think", "answer"), only=True)([text]) == [only]


def test_trl_agrees_on_thinking() -> None:
    rewards = pytest.importorskip("trl.rewards", reason="TRL, the numeric peer, is not installed")
    texts = ["<think>a</think>b", "<think>\na\n</think>\nb", "<think>a", "a</think>", "x<think>a</think>"]
    texts += ["<think><think>a</think>"]
    theirs = rewards.think_format_reward([[{"content": text}] for text in texts])
    assert Tags()(texts) == theirs
    assert set(theirs) == {0.0, 1.0}


def test_regular_expressions() -> None:
    texts = ["yes", " yes\n", "yes, I think", "no"]
    assert Regex(pattern="yes|no")(texts) == [1.0, 1.0, 0.0, 1.0]
    assert Regex(pattern="yes", anywhere=True)(texts) == [1.0, 1.0, 1.0, 0.0]
    assert Regex(pattern="a.b")(["a\nb"]) == [1.0]


def test_json_with_and_without_a_schema() -> None:
    texts = ['{"name": "x", "of": 2}', '{"name": "x", "of": -2}', '{"of": 2}', '{"name": "x", "more": 1}', "[1]"]
    texts += ['{"name": "x"', "NaN"]
    assert Json(schema=SCHEMA)(texts) == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert Json()(texts) == [1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]


def test_json_in_a_fence_and_deeper_than_python_reads() -> None:
    texts = ['Here:\n```json\n{"a": 1}\n```\n', 'Here: {"a": 1}', "```\n1\n```\n```\n2\n```", "[" * 10**5]
    assert Json()(texts) == [1.0, 0.0, 0.0, 0.0]


def test_json_that_no_schema_can_be_held_to_is_not_kept() -> None:
    assert Json(schema={"items": {"$ref": "#"}})(["[" * 900 + "]" * 900, "[[1]]"]) == [0.0, 1.0]
    assert Json(schema={"multipleOf": 0.5})(["1e999", "1.5"]) == [0.0, 1.0]


def test_a_rows_own_schema_comes_first() -> None:
    given = Json(schema={"type": "string"})
    assert given(["1", "1", '"a"'], schema=[{"type": "integer"}, '{"type": "null"}', None]) == [1.0, 0.0, 1.0]


def test_nothing_is_fetched() -> None:
    elsewhere = Json(schema={"$ref": "http://127.0.0.1:9/schema.json"})
    with pytest.raises(Exception, match=r"Unresolvable|127\.0\.0\.1"):
        elsewhere(["1"])


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Tags, {"tags": ()}),
        (Tags, {"tags": ("a", "a")}),
        (Tags, {"tags": ("<a>",)}),
        (Regex, {"pattern": "("}),
        (Json, {"schema": {"type": "nonsense"}}),
    ],
)
def test_options_that_make_no_sense_are_refused(kind: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"tags must be|regular expression|no JSON Schema"):
        kind(**options)


def test_they_run_under_their_names_and_hold_what_every_reward_must() -> None:
    options: dict[str, dict[str, Any]] = {
        "format_tags": {"tags": ["think"]},
        "format_regex": {"pattern": r"\d+"},
        "format_json": {"schema": {"type": "integer"}},
    }
    rewards = [load_reward(name, load(), options=given) for name, given in options.items()]
    said = [[{"role": "assistant", "content": "<think>a</think>"}], [{"role": "assistant", "content": "7"}]]
    assert run_rewards(rewards, ["?"] * 2, said, [[1]] * 2, {}) == {
        "format_tags": [1.0, 0.0],
        "format_regex": [0.0, 1.0],
        "format_json": [0.0, 1.0],
    }
    for name, given in options.items():
        check_reward(name, options=given).raise_for_failures()
    with pytest.raises(RewardError, match="does not take"):
        load_reward("format_regex", load(), options={"patern": "x"})

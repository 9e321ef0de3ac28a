"""Rewards for length and repetition on numbers worked out by hand, and beside TRL's."""

from __future__ import annotations

import math
from typing import Any

import pytest
from burnish_length.reward import CosineLength, Repetition, SoftOverlong
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.errors import RewardError
from burnish.registry import load
from burnish.rollout.rewards import load_reward, run_rewards
from burnish.testing import check_reward

IDS = st.lists(st.lists(st.integers(0, 3), max_size=40), min_size=1, max_size=6)
COSINE = {"of": "exact_match", "max_length": 100}


def cosine(right: list[bool | None], lengths: list[int], **options: Any) -> list[float | None]:
    answers = [None if one is None else "yes" for one in right]
    said = ["yes" if one else "no" for one in right]
    ids = [[0] * length for length in lengths]
    reward = CosineLength(**{**COSINE, **options})
    return reward(prompts=["?"] * len(said), completions=said, completion_ids=ids, answer=answers)


def test_soft_overlong() -> None:
    # 100 - 20 = 80 tokens are free; 85 is 5 of 20 too long, 100 all of them.
    found = SoftOverlong(max_length=100, margin=20)(completion_ids=[[7] * length for length in (0, 80, 85, 95, 100, 101)])
    assert found == [0.0, 0.0, -0.25, -0.75, -1.0, -1.0]
    assert SoftOverlong(max_length=10, margin=0)(completion_ids=[[7] * 10, [7] * 11]) == [0.0, -1.0]


def test_cosine() -> None:
    # cos 0 = 1 at length 0, cos(pi / 2) = 0 half-way, cos pi = -1 at the end and beyond.
    found = cosine([True] * 4 + [False] * 3 + [None], [0, 50, 100, 500, 0, 50, 100, 7])
    assert found[:7] == pytest.approx([1.0, 0.75, 0.5, 0.5, -1.0, -0.75, -0.5])
    assert found[7] is None
    # A quarter of the way: long + (short - long) (1 + cos(pi / 4)) / 2
    assert cosine([True], [25], right_short=2.0, right_long=0.0) == pytest.approx([1 + math.sqrt(0.5)])


def test_repetition() -> None:
    # pairs of 1 2 1 2 1: 12, 21, 12, 21: two of four were there before. Of 5 5 5 5: two of three.
    found = Repetition(ngram=2, penalty=-0.5)(completion_ids=[[1, 2, 1, 2, 1], [5, 5, 5, 5], [1, 2, 3], [1], []])
    assert found == pytest.approx([-0.25, -1 / 3, 0.0, 0.0, 0.0])


@given(IDS, st.integers(1, 4), st.integers(0, 15))
@settings(deadline=None, max_examples=30)
def test_trl_gives_the_same(ids: list[list[int]], ngram: int, margin: int) -> None:
    rewards = pytest.importorskip("trl.rewards", reason="TRL, the numeric peer, is not installed")
    theirs = rewards.get_repetition_penalty_reward(ngram_size=ngram, max_penalty=-2.0)(completion_ids=ids)
    assert Repetition(ngram=ngram, penalty=-2.0)(completion_ids=ids) == pytest.approx(theirs)
    theirs = rewards.get_soft_overlong_punishment(max_completion_len=20, soft_punish_cache=margin)(completion_ids=ids)
    assert SoftOverlong(max_length=20, margin=margin)(completion_ids=ids) == pytest.approx(theirs)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (SoftOverlong, {"max_length": 5, "margin": 6}),
        (CosineLength, {"of": "exact_match", "max_length": 0}),
        (Repetition, {"ngram": 0}),
        (Repetition, {"penalty": 1.0}),
    ],
)
def test_options_out_of_range_are_refused(kind: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        kind(**options)


def test_they_run_under_their_names_and_hold_what_every_reward_must() -> None:
    options: dict[str, dict[str, Any]] = {
        "soft_overlong": {"max_length": 4, "margin": 2},
        "cosine_length": COSINE,
        "repetition": {},
    }
    rewards = [load_reward(name, load(), options=asked) for name, asked in options.items()]
    found = run_rewards(rewards, ["?"], ["yes"], [[1, 1, 1, 1]], {"answer": ["yes"]})
    assert found["soft_overlong"] == [-1.0]
    assert found["repetition"] == [-0.5]  # one of two
    assert found["cosine_length"] == cosine([True], [4])
    rows = [{"prompt": "?", "completion": text, "answer": "yes"} for text in ("yes", "", "no, no, no, no")]
    for name, asked in options.items():
        check_reward(name, data=rows, options=asked).raise_for_failures()


def test_a_reward_that_there_is_not_is_named() -> None:
    with pytest.raises(Exception, match="exact_mach"):
        cosine([True], [1], of="exact_mach")
    with pytest.raises(RewardError, match="does not take"):
        load_reward("soft_overlong", load())

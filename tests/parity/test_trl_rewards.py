"""TRL's own reward functions run unchanged: as rewards of a run, in processes, and with what TRL hands to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from burnish_length.reward import Repetition, SoftOverlong
from trl.rewards import (
    accuracy_reward,
    get_cosine_scaled_reward,
    get_repetition_penalty_reward,
    get_soft_overlong_punishment,
    reasoning_accuracy_reward,
    think_format_reward,
)

from burnish.registry import load
from burnish.rollout.rewards import Reward, ask_all, call_of, load_reward

SAID = [
    [{"role": "assistant", "content": r"<think>half</think> It is \boxed{\frac{1}{2}}"}],
    [{"role": "assistant", "content": r"It is \boxed{3}"}],
    [{"role": "assistant", "content": "<think>\nlong\n</think>\n" + r"\boxed{7} " * 5}],
]
IDS = [[1, 2, 3, 4], [5, 5, 5, 5, 5, 5, 5], [6, 7] * 5]
COLUMNS = {"solution": [r"\frac{1}{2}", "4", ""]}
PROMPTS = [[{"role": "user", "content": "what?"}]] * 3
THEIRS: dict[str, Callable[..., Any]] = {
    "think_format": think_format_reward,
    "accuracy": accuracy_reward,
    "reasoning_accuracy": reasoning_accuracy_reward,
    "cosine": get_cosine_scaled_reward(max_len=8),
    "repetition": get_repetition_penalty_reward(ngram_size=2),
    "overlong": get_soft_overlong_punishment(max_completion_len=9, soft_punish_cache=4),
}


@pytest.mark.parametrize("time_limit", [None, 60.0])
def test_the_same_numbers_with_what_a_run_gives(time_limit: float | None) -> None:
    call = call_of(PROMPTS, SAID, IDS, COLUMNS, state=None, extras=True)
    answers = ask_all([Reward(name, function, time_limit=time_limit) for name, function in THEIRS.items()], call)
    for name, function in THEIRS.items():
        expected = function(prompts=PROMPTS, completions=SAID, completion_ids=IDS, **COLUMNS)
        assert answers[name].values == pytest.approx(expected), name
    assert answers["accuracy"].values[2] is None  # whose solution cannot be read
    assert answers["accuracy"].columns["solution"] == COLUMNS["solution"]  # by log_extra


def test_in_a_process_of_its_own() -> None:
    reward = load_reward("trl.rewards:think_format_reward", load(run_code=True), processes=1)
    assert ask_all([reward], call_of(PROMPTS, SAID, IDS, COLUMNS, extras=True))["think_format_reward"].values == [1.0, 0.0, 1.0]


def test_our_rewards_of_length_are_theirs() -> None:
    ours: Sequence[tuple[str, Callable[..., Any]]] = [
        ("repetition", Repetition(ngram=2)),
        ("overlong", SoftOverlong(max_length=9, margin=4)),
    ]
    for name, function in ours:
        assert function(completion_ids=IDS) == pytest.approx(THEIRS[name](completion_ids=IDS))

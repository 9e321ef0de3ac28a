"""Rewards on held-out rows: what rewards are given, what is averaged, and that the model is left alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from burnish.config.sections import SamplingSection
from burnish.data.examples import Preference, Prompt, Side
from burnish.rollout.evaluation import evaluate_rewards
from burnish.rollout.prompts import columns_of, completion_said
from burnish.rollout.rewards import Reward
from burnish.testing.tiny import tiny_model, tiny_tokenizer

SAMPLING = SamplingSection(max_new_tokens=5)
USER = {"role": "user", "content": "2 + 2"}
ANSWER = {"role": "assistant", "content": "4"}


def test_columns_are_what_rows_hold_beside_the_prompt() -> None:
    pair = Preference("p", "good", "bad", side=Side(columns={"answer": "4"}))
    assert columns_of([pair, Prompt("q", side=Side(columns={"level": 2}))]) == {
        "chosen": ["good", None],
        "rejected": ["bad", None],
        "answer": ["4", None],
        "level": [None, 2],
    }


def test_completions_have_the_form_of_their_prompt() -> None:
    tokenizer = tiny_tokenizer()
    ids = [*tokenizer("4")["input_ids"], tokenizer.eos_token_id]
    assert completion_said(tokenizer, "2 + 2 =", ids) == "4"
    assert completion_said(tokenizer, (USER,), ids) == [ANSWER]


def test_means_are_over_what_a_reward_applies_to_and_weights_sum() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    examples = [Prompt("a"), Prompt((USER,)), Prompt("b"), Prompt("c")]
    kinds: list[tuple[type, type]] = []

    def first(prompts: list[Any], completions: list[Any], **_: Any) -> list[float | None]:
        kinds.extend((type(prompt), type(said)) for prompt, said in zip(prompts, completions, strict=True))
        return [1.0, None, 0.0, 0.5]

    rewards = [Reward("first", first), Reward("second", lambda **_: [0.0, 1.0, 1.0, 0.0], weight=2.0)]
    metrics = evaluate_rewards(model, tokenizer, examples, rewards, SAMPLING)
    assert kinds == [(str, str), (list, list), (str, str), (str, str)]
    assert metrics["eval/rewards/first/mean"] == pytest.approx(1.5 / 3)
    assert metrics["eval/rewards/second/mean"] == pytest.approx(0.5)
    # Sums per completion: 1, 2, 0 + 2, .5.
    assert metrics["eval/reward"] == pytest.approx(5.5 / 4)
    assert metrics["eval/completions/mean_length"] <= 5
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_reward_that_never_applies_has_no_mean() -> None:
    metrics = evaluate_rewards(tiny_model(), tiny_tokenizer(), [Prompt("a")], [Reward("none", lambda **_: [None])], SAMPLING)
    assert "eval/rewards/none/mean" not in metrics
    assert metrics["eval/reward"] == 0

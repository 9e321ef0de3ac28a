"""Rewards on held-out rows: what rewards are given, what is averaged, and that the model is left alone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from burnish.config.sections import RenderSection, SamplingSection
from burnish.data.examples import Example, Preference, Prompt, Side
from burnish.data.render import Renderer
from burnish.data.units import Unit
from burnish.rollout.contract import Episode, Generate, Span, Task
from burnish.rollout.evaluation import evaluation_metrics, examined, questions
from burnish.rollout.judge import Judge
from burnish.rollout.local import LocalBackend
from burnish.rollout.play import Player
from burnish.rollout.prompts import columns_of, completion_said
from burnish.rollout.rewards import Reward
from burnish.rollout.single_turn import SingleTurn
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


def asked(examples: Sequence[Example], rewards: Sequence[Reward], environment: Any = None) -> dict[str, float]:
    """An evaluation of a tiny model on these rows."""
    model, tokenizer = tiny_model(), tiny_tokenizer()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    backend = LocalBackend()
    backend.draw_from(model, tokenizer, nullcontext)
    units = [Unit("prompt", (), "main", {}, row) for row in range(len(examples))]
    prompts = questions(units, examples, Renderer(tokenizer, RenderSection()))
    player = Player({"main": environment or SingleTurn()}, backend, tokenizer, SAMPLING, seed=0)
    metrics = evaluation_metrics(examined(player, Judge(rewards, tokenizer), prompts))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    return metrics


def test_means_are_over_what_a_reward_applies_to_and_weights_sum() -> None:
    examples = [Prompt("a"), Prompt((USER,)), Prompt("b"), Prompt("c")]
    kinds: list[tuple[type, type]] = []

    def first(prompts: list[Any], completions: list[Any], **_: Any) -> list[float | None]:
        kinds.extend((type(prompt), type(said)) for prompt, said in zip(prompts, completions, strict=True))
        return [1.0, None, 0.0, 0.5]

    rewards = [Reward("first", first), Reward("second", lambda **_: [0.0, 1.0, 1.0, 0.0], weight=2.0)]
    metrics = asked(examples, rewards)
    assert kinds == [(str, str), (list, list), (str, str), (str, str)]
    assert metrics["eval/rewards/first/mean"] == pytest.approx(1.5 / 3)
    assert metrics["eval/rewards/second/mean"] == pytest.approx(0.5)
    # Sums per completion: 1, 2, 0 + 2, .5.
    assert metrics["eval/reward"] == pytest.approx(5.5 / 4)
    assert metrics["eval/completions/mean_length"] <= 5
    assert not [name for name in metrics if "zero_std" in name or name.endswith("reward_std")]  # there are no groups


def test_a_reward_that_never_applies_has_no_mean() -> None:
    metrics = asked([Prompt("a")], [Reward("none", lambda **_: [None])])
    assert "eval/rewards/none/mean" not in metrics
    assert metrics["eval/reward"] == 0


def test_what_is_drawn_depends_on_the_prompt_and_not_on_its_place() -> None:
    renderer = Renderer(tiny_tokenizer(), RenderSection())

    def groups(*texts: str) -> dict[str, list[int]]:
        units = [Unit("prompt", (), "main", {}, row) for row in range(len(texts))]
        found: dict[str, list[int]] = {}
        for one in questions(units, [Prompt(text) for text in texts], renderer):
            found.setdefault(str(one.example.prompt), []).append(one.group)  # type: ignore[union-attr]
        return found

    assert groups("a", "b", "a") == groups("b", "a", "a")
    assert len({*groups("a", "b", "a")["a"]}) == 2


def test_whole_episodes_are_played_and_those_that_fail_are_left_out() -> None:
    """Two turns to an episode, of which each earns 1 and the whole 10; the row whose column says so raises."""

    class Two:
        async def __call__(self, task: Task, generate: Generate) -> Episode:
            if task.columns.get("fails"):
                raise LookupError("no level")
            first = await generate(task.ids)
            second = await generate((*task.ids, *first.ids))
            spans = [Span(ids=tuple(one.ids), sampled=one, reward=1.0) for one in (first, second)]
            return Episode(spans=(Span(ids=task.ids), *spans), reward=10.0, notes={"turns": 2.0})

    rows = [Prompt("a"), Prompt("b", side=Side(columns={"fails": True}))]
    metrics = asked(rows, [], Two())
    assert metrics["eval/reward"] == 12.0
    assert (metrics["eval/rewards/turns/mean"], metrics["eval/rewards/environment/mean"]) == (2.0, 10.0)
    assert metrics["eval/environment/turns"] == 2.0
    assert metrics["eval/outcomes/failed"] == metrics["eval/outcomes/environment_error"] == 0.5

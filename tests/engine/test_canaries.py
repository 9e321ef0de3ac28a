"""Canaries: which prompts are asked, how, and what of two answers can be compared. No model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from burnish.engine.canaries import FEW_TOKENS, LENGTHS, NEW_TOKENS, SEED, Answers, Canaries, apart, each_apart, in_common
from burnish.errors import ModelError
from burnish.model.signals import logp
from burnish.rollout.contract import Capabilities
from burnish.rollout.sampler import Completion


class Asked:
    """Answers as it is told; has two replicas."""

    capabilities = Capabilities(replicas=2)

    def __init__(self, ids: Sequence[int] = (3, 4)) -> None:
        self.ids, self.calls = list(ids), list[tuple[tuple[int, ...], float, int, int]]()

    async def generate(self, ids: Sequence[int], sampling: Any, seed: int = 0) -> Completion:
        self.calls.append((tuple(ids), sampling.temperature, sampling.max_new_tokens, seed))
        return Completion(self.ids, [-1.0] * len(self.ids), False)


class Scores:
    """A runner that gives each sequence its length; notes what it was to score."""

    budget = 99

    def __init__(self) -> None:
        self.roles = self
        self.scored: list[Any] = []

    def score_frozen(self, role: str, sequences: Any, masks: Any, signals: Any, budget: int) -> Any:
        self.scored.append((role, sequences, masks, signals, budget))
        return [{signal: np.array([-float(len(one.ids))], np.float32) for signal in signals} for one in sequences]


def canaries(vocabulary: int = 40, positions: int | None = 512, known: int = 50, runner: Any = None) -> Canaries:
    """Of a model with `vocabulary` ids and a tokenizer of `known`, of which 5 to 29 are special."""
    tokenizer = type("Tokenizer", (), {"all_special_ids": [*range(5, 30)], "__len__": lambda _: known})()
    text = SimpleNamespace(vocab_size=vocabulary, max_position_embeddings=positions)
    config = SimpleNamespace(get_text_config=lambda: text)
    return Canaries.of(tokenizer, config, Asked(), 0.7, runner or Scores())  # type: ignore[arg-type]


def test_prompts_are_of_ids_that_both_have_and_that_are_not_special() -> None:
    for one in (canaries(), canaries(vocabulary=50, known=40)):
        ids = {token for prompt in one.prompts for token in prompt}
        assert ids == {*range(5), *range(30, 40)}


def test_each_replica_is_asked_each_right_after_the_other() -> None:
    prompts = canaries().prompts
    assert [len(one) for one in prompts] == [length for length in LENGTHS for _ in range(2)]
    assert [one == other for one, other in pairwise(prompts)] == [True, False] * (len(LENGTHS) - 1) + [True]
    assert [len(one) for one in canaries().short.prompts] == [4] * 8
    assert canaries().prompts == prompts


@pytest.mark.parametrize(("positions", "longest"), [(100, 100 - NEW_TOKENS), (4, 1), (None, max(LENGTHS))])
def test_prompts_leave_room_for_what_is_drawn(positions: int | None, longest: int) -> None:
    assert max(len(one) for one in canaries(positions=positions).prompts) == longest


@pytest.mark.parametrize(("asked", "tokens"), [(canaries(), NEW_TOKENS), (canaries().short, FEW_TOKENS)])
def test_they_are_asked_like_rollouts_each_with_a_stream_of_its_own(asked: Canaries, tokens: int) -> None:
    backend = Asked()
    answers = asyncio.run(asked.ask(backend))  # type: ignore[arg-type]
    assert backend.calls == [(ids, 0.7, tokens, SEED + place) for place, ids in enumerate(asked.prompts)]
    assert answers.prompts == asked.prompts
    assert [one.ids for one in answers.completions] == [[3, 4]] * len(asked.prompts)


def test_an_answer_of_ids_that_the_model_lacks_is_refused() -> None:
    with pytest.raises(ModelError, match="40"):
        asyncio.run(canaries().ask(Asked([3, 40])))  # type: ignore[arg-type]


def test_the_trainer_scores_the_same_tokens_at_the_temperature_of_sampling() -> None:
    runner = Scores()
    answers = Answers(((1, 2, 3),), (Completion([4, 5], [-1.0, -2.0], False, [7, 8]),))
    [found] = canaries(runner=runner).score(answers)
    assert found.tolist() == [-5.0]
    assert found.dtype == np.float64
    [(role, [sequence], [mask], signals, budget)] = runner.scored
    assert (role, signals, budget) == ("old", (logp("old", 0.7),), 99)
    assert sequence.ids.tolist() == [1, 2, 3, 4, 5]
    assert mask.tolist() == [False, False, False, True, True]
    assert answers.versions == {7, 8}
    assert [one.tolist() for one in answers.logps] == [[-1.0, -2.0]]


def test_how_far_apart() -> None:
    """Over tokens, not over canaries, and without signs: (1 + 1 + 4) / 3."""
    left, right = [np.array([-1.0, -3.0]), np.array([-5.0])], [np.array([-2.0, -2.0]), np.array([-1.0])]
    assert apart(left, right) == pytest.approx(2.0)
    assert each_apart(left, right) == [1.0, 4.0]
    assert apart([np.array([])], [np.array([])]) == 0.0


@pytest.mark.parametrize(
    ("now", "before", "shared"), [([1, 2, 3], [1, 2, 4], 2), ([1, 2], [1, 2, 3], 2), ([9], [1], 0), ([], [1], 0)]
)
def test_what_two_answers_have_in_common(now: list[int], before: list[int], shared: int) -> None:
    one, other = (Answers(((0,),), (Completion(ids, [-1.0] * len(ids), False),)) for ids in (now, before))
    assert in_common(one, other) == [shared]

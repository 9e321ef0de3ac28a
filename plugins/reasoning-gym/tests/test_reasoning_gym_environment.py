"""Questions that may be answered again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from burnish.errors import DataError
from burnish.registry import EnvironmentRecord, SourceRecord, load
from burnish.rollout.contract import Episode, Task
from burnish.rollout.environments.classes import environment_of
from burnish.rollout.sampler import Completion
from burnish.testing import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
ONE_DIGIT = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}


def row() -> dict[str, Any]:
    """A sum of two digits."""
    source = load().find(SourceRecord, "reasoning-gym")
    return dict(next(iter(source(task="chain_sum", size=1, kind="prompt", arguments=ONE_DIGIT))))


def play(*answers: str, columns: dict[str, Any] | None = None, **options: Any) -> Episode:
    """An episode in which the policy gives these answers; `right` stands for the right one."""
    given = row()
    script = [given["answer"] if answer == "right" else answer for answer in answers]

    async def generate(ids: Sequence[int]) -> Completion:
        said = TOKENIZER(script.pop(0) + "<|im_end|>", add_special_tokens=False)["input_ids"]
        return Completion(said, [-1.0] * len(said), finished=True)

    environment = environment_of(load().find(EnvironmentRecord, "reasoning-gym"), options, "reasoning-gym")
    task = Task(ids=(1, 2), tokenizer=TOKENIZER, prompt=tuple(given["prompt"]), columns=given if columns is None else columns)
    episode: Episode = asyncio.run(environment(task, generate))
    assert not script
    return episode


def test_the_first_answer_may_be_right() -> None:
    episode = play("right")
    assert (episode.outcome, episode.reward) == ("ok", 1.0)
    assert episode.spans[0].ids == (1, 2)  # the prompt as the row renders it


def test_a_wrong_answer_may_be_mended() -> None:
    episode = play("-99", "right", discount=0.5)
    assert (episode.outcome, episode.reward) == ("ok", 0.5)
    assert episode.said[1] == {"role": "user", "content": "That is not right. Try again."}


def test_attempts_end() -> None:
    episode = play("-99", "-98")
    assert (episode.outcome, episode.reward) == ("ok", 0.0)


def test_rows_from_elsewhere_are_refused() -> None:
    with pytest.raises(DataError, match="a row has no `item`"):
        play("right", columns={})


@pytest.mark.parametrize("options", [{"attempts": 0}, {"discount": 2.0}])
def test_options_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        play("right", **options)

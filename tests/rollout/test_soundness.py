"""What a backend answered, at the edges of what can be trained on."""

from __future__ import annotations

import math

import pytest

from burnish.errors import ModelError
from burnish.rollout.sampler import Completion
from burnish.rollout.soundness import ROUNDING, sound

VOCABULARY = 10


@pytest.mark.parametrize(
    ("ids", "logps", "vocabulary"),
    [
        ([0, VOCABULARY - 1], [-1.0, 0.0], VOCABULARY),
        ([VOCABULARY], [-1.0], None),
        ([3], [ROUNDING], VOCABULARY),
        ([], [], VOCABULARY),
    ],
)
def test_what_is_sound_is_the_answer(ids: list[int], logps: list[float], vocabulary: int | None) -> None:
    answer = Completion(ids, logps, finished=True)
    assert sound(answer, vocabulary) is answer


@pytest.mark.parametrize(
    ("ids", "logps", "vocabulary", "said"),
    [
        ([3, VOCABULARY], [-1.0, -1.0], VOCABULARY, "drew the id 10, and the vocabulary of the trained model has 10 ids"),
        ([-1], [-1.0], None, "drew the id -1, and the vocabulary of the trained model has none below 0"),
        ([3], [2 * ROUNDING], VOCABULARY, "a token of log-probability 0.002"),
        ([3], [-math.inf], VOCABULARY, "a token of log-probability -inf"),
        ([3], [math.nan], VOCABULARY, "a token of log-probability nan"),
        ([3, 4], [-1.0], VOCABULARY, "1 log-probabilities for 2 tokens"),
        ([3], [-1.0, -1.0], VOCABULARY, "2 log-probabilities for 1 tokens"),
    ],
)
def test_what_is_not_says_why(ids: list[int], logps: list[float], vocabulary: int | None, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        sound(Completion(ids, logps, finished=True), vocabulary)


@pytest.mark.parametrize(
    ("ids", "logps", "said"),
    [
        ([], [], "asked for the 2 likeliest tokens beside each of 1, and gave 0 lists of none"),
        ([[3]], [[-1.0]], r"and gave 1 lists of \[1\]"),
        ([[3, 4]], [[-1.0]], "and gave 1 lists of"),
        ([[3, VOCABULARY]], [[-1.0, -2.0]], r"likeliest tokens were \[3, 10\], which the vocabulary of 10 lacks"),
        ([[3, -2]], [[-1.0, -2.0]], r"likeliest tokens were \[3, -2\]"),
        ([[3, 4]], [[-1.0, math.nan]], "log-probabilities"),
        ([[3, 4]], [[-1.0, 0.5]], "log-probabilities"),
        ([[3, 4]], [[-1.0, -math.inf]], "log-probabilities"),
    ],
)
def test_what_is_said_of_the_likeliest_tokens(ids: list[list[int]], logps: list[list[float]], said: str) -> None:
    answer = Completion([3], [-1.0], True, [], ids, logps)
    assert sound(answer, VOCABULARY) is answer  # nobody asked
    with pytest.raises(ModelError, match=said):
        sound(answer, VOCABULARY, 2)
    whole = Completion([3], [-1.0], True, [], [[3, -1]], [[-0.1, 0.0]])
    assert sound(whole, VOCABULARY, 2) is whole

"""Games: their turns, their rewards, the same game for the same seed whatever else is played."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import ConfigError
from burnish.registry import EnvironmentRecord, SourceRecord, load
from burnish.rollout.contract import Episode, Task
from burnish.rollout.environments.classes import environment_of
from burnish.rollout.sampler import Completion
from burnish.testing import tiny_tokenizer

pytest.importorskip("textarena", reason="textarena is not installed")
TOKENIZER = tiny_tokenizer()


def play(options: dict[str, Any], move: Callable[[str], str], seed: int) -> Episode:
    """A game by a policy that moves by rule, from the text so far."""
    environment = environment_of(load().find(EnvironmentRecord, "textarena"), options, "textarena")

    async def generate(ids: Sequence[int]) -> Completion:
        said = TOKENIZER(move(TOKENIZER.decode(ids)) + "<|im_end|>", add_special_tokens=False)["input_ids"]
        return Completion(said, [-1.0] * len(said), finished=True)

    prompt = ({"role": "user", "content": "Let us play a game."},)
    task = Task(ids=(1,), tokenizer=TOKENIZER, prompt=prompt, columns={"seed": seed})
    episode: Episode = asyncio.run(environment(task, generate))
    return episode


def halving(text: str) -> str:
    """The middle of what is left."""
    low, high = 1, 20
    for turn in text.split("<|im_start|>assistant\n")[1:]:
        if "[" in turn:
            guess = int(turn.split("[")[1].split("]")[0])
            low, high = (guess + 1, high) if "higher" in turn else (low, guess - 1)
    return f"[{(low + high) // 2}]"


def test_a_game_is_won() -> None:
    episode = play({"game": "GuessTheNumber-v0"}, halving, seed=3)
    assert (episode.outcome, episode.reward) == ("ok", 1.0)
    opening = TOKENIZER.decode(episode.spans[0].ids)
    assert "Let us play a game.\n\nYou are Player 0. You are playing Guess The Number." in opening
    told = [one["content"] for one in episode.said if one["role"] == "user"]
    assert all(one in ("The target number is higher.", "The target number is lower.") for one in told)


def test_a_game_is_lost() -> None:
    assert play({"game": "GuessTheNumber-v0"}, lambda text: "I pass", seed=3).reward == 0.0


def test_a_seed_is_a_game() -> None:
    before = random.getstate()
    games = [play({"game": "GuessTheNumber-v0"}, halving, seed=seed).said for seed in (1, 2, 3, 4, 1)]
    assert games[0] == games[4]
    assert len({str(said) for said in games}) > 1
    assert random.getstate() == before


def test_a_game_that_is_cut_has_no_reward() -> None:
    episode = play({"game": "GuessTheNumber-v0", "max_turns": 1}, lambda text: "I pass", seed=3)
    assert (episode.outcome, episode.reward) == ("truncated", None)


def test_an_opponent_moves_for_others(tmp_path: Path) -> None:
    (tmp_path / "rival.py").write_text("left = iter(['[4]', '[8]'])\ndef move(shown):\n    return next(left)\n")
    moves = iter(["[0]", "[1]", "[2]"])
    options = {"game": "TicTacToe-v0", "players": 2, "opponent": f"{tmp_path}/rival.py:move"}
    episode = play(options, lambda text: next(moves), seed=0)
    assert episode.outcome == "ok"
    assert episode.reward == 1.0  # three in the upper row against two


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"game": "GuessTheNumber"}, "Did you mean 'GuessTheNumber-v0'"),
        ({"game": "GuessTheNumber-v0", "options": {"top": 3}}, "does not take"),
        ({"game": "TicTacToe-v0", "players": 2}, "needs an `opponent`"),
        ({"game": "TicTacToe-v0", "players": 2, "opponent": "random"}, "names no function"),
    ],
)
def test_what_cannot_be_played_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=said):
        play(options, halving, seed=0)


def test_rows_begin_games() -> None:
    rows = list(load().find(SourceRecord, "textarena")(size=3, seed=5))
    assert [row["seed"] for row in rows] == [5, 6, 7]
    with pytest.raises(ValueError, match="at least 1"):
        load().find(SourceRecord, "textarena")(size=0)

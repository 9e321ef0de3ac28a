"""One game of textarena, played by the policy. Knows the game's own interface; no token and no model."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from typing import Any

from burnish.errors import ConfigError, did_you_mean
from burnish.registry import is_custom
from burnish.registry.custom import import_custom

_RANDOM = threading.Lock()  # games draw from python's global stream


class TextArena:
    """A game: the policy is player 0 and hears what the game shows it since its last move.

    game: a name of textarena (`GuessTheNumber-v0`); options: the game's own. players: of the game; where there are more than
    the policy, `opponent` moves for the others: `./file.py:function`, from what the game shows to a move. The row's column
    `seed` decides the game, the same for all of a group. What the game gives player 0 at its end is the reward.
    """

    def __init__(
        self, *, game: str, options: Mapping[str, Any] | None = None, players: int = 1, opponent: str | None = None
    ) -> None:
        if players > 1 and opponent is None:
            raise ValueError(f"a game of {players} players needs an `opponent`, such as ./rival.py:move")
        if opponent is not None and not is_custom(opponent):
            raise ValueError(f"opponent: '{opponent}' names no function; write ./file.py:function or module:function")
        self._game = _make(game, dict(options or {}))
        self._players = players
        self._opponent: Callable[[str], str] | None = None if opponent is None else import_custom(opponent)
        self._random: Any = None
        self._reward: float | None = None

    def reset(self, seed: int = 0) -> str:
        """Begin; what the game shows first."""
        with _RANDOM:
            outside = random.getstate()
            try:
                self._game.reset(num_players=self._players, seed=seed)
                self._random = random.getstate()
            finally:
                random.setstate(outside)
        return self._until_our_turn(done=False) or ""

    def step(self, said: str) -> tuple[str | None, None, bool]:
        """A move; what the game shows then."""
        done = self._move(said)
        shown = self._until_our_turn(done)
        return shown, None, shown is None

    def reward(self) -> float | None:
        """What the game gave; None where it did not come to its end."""
        return self._reward

    def _until_our_turn(self, done: bool) -> str | None:
        while not done:
            player, observation = self._game.get_observation()
            shown = "\n".join(text.strip() for author, text, _ in observation if author != player)
            if player == 0:
                return shown
            assert self._opponent is not None, "an opponent moves for others"
            done = self._move(self._opponent(shown))
        rewards, _ = self._game.close()
        self._reward = float((rewards or {}).get(0, 0.0))
        return None

    def _move(self, action: str) -> bool:
        """A move of whose turn it is, with the game's own random stream; whether that ended it."""
        with _RANDOM:
            outside = random.getstate()
            random.setstate(self._random)
            try:
                done, _ = self._game.step(action=action)
                self._random = random.getstate()
            finally:
                random.setstate(outside)
        return bool(done)


def _make(game: str, options: dict[str, Any]) -> Any:
    """A game without the wrappers that would show all of it anew at every turn."""
    import textarena
    from textarena.envs.registration import ENV_REGISTRY

    raw = f"{game.removesuffix('-raw')}-raw"
    if raw not in ENV_REGISTRY:
        known = [name.removesuffix("-raw") for name in ENV_REGISTRY if name.endswith("-raw")]
        raise ConfigError(f"textarena has no game '{game}'. {did_you_mean(game, known)}")
    try:
        return textarena.make(raw, **options)
    except TypeError as error:
        raise ConfigError(f"the game '{game}' does not take {options}: {error}") from error

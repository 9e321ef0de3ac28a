"""Errors that a user can act on, and the sentence that names the nearest known word. Knows nothing of the rest of burnish."""

from __future__ import annotations

import difflib
import importlib
import os
import traceback
from collections.abc import Iterable


class BurnishError(ValueError):
    """A mistake in what burnish was given: the message says what was asked, what was found and what to do."""


class ConfigError(BurnishError):
    """A configuration that cannot be run; names the file and the key."""


class DataError(BurnishError):
    """Rows that cannot be used; names the file, the row and what was expected there."""


class ModelError(BurnishError):
    """A model, tokenizer or adapter that cannot be had or cannot do what is asked of it."""


class ObjectiveError(BurnishError):
    """An objective whose parts cannot work together, or a loss that broke its contract."""


class PluginError(BurnishError):
    """A plugin, or a name that a plugin should provide, that cannot be used."""


class RewardError(BurnishError):
    """A reward that cannot be found, raised, or returned something other than one number per completion."""


class RunError(BurnishError):
    """A run directory or checkpoint that cannot be written, read or resumed."""


class InfrastructureError(ConnectionError):
    """Something that an episode needs cannot be reached: nobody's mistake, so the episode is begun again, or left out."""


def raised(error: BaseException) -> str:
    """What the code of a plugin or of a config raised, and the last line of it that was run: `KeyError: 'x' (loss.py:12)`."""
    between = ("<", *(os.path.dirname(file) + os.sep for file in (__file__, importlib.__file__)))
    called = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(between)]
    frames = [frame for frame in called if f"{os.sep}pluggy{os.sep}" not in frame.filename]
    place = next((f" ({last.filename}:{last.lineno})" for last in reversed(frames) if last.filename == frames[0].filename), "")
    return f"{type(error).__name__}: {error}{place}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest to `name`, or None when nothing is close. One slip of the finger comes before all else."""
    matches = difflib.get_close_matches(name, list(known), n=8, cutoff=0.55)
    slips = [match for match in matches if _is_slip(name, match)]
    return next(iter([*sorted(slips, key=lambda match: abs(len(match) - len(name))), *matches]), None)


def _is_slip(typed: str, meant: str) -> bool:
    """Whether they differ by a letter that is wrong, missing or too many, or by two neighbours the wrong way round."""
    if len(typed) == len(meant):
        wrong = [place for place, (one, other) in enumerate(zip(typed, meant, strict=True)) if one != other]
        swapped = len(wrong) == 2 and wrong[0] + 1 == wrong[1] and sorted(typed) == sorted(meant)
        return len(wrong) == 1 or swapped
    shorter, longer = sorted((typed, meant), key=len)
    return any(longer[:place] + longer[place + 1 :] == shorter for place in range(len(longer)))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown `name`: the nearest known name, then all of them."""
    names = sorted(known)
    close = nearest(name, names)
    hint = f"Did you mean '{close}'? " if close else ""
    return f"{hint}Known: {', '.join(names) if names else 'none'}."

"""Which rows are held out: a function of what a row asks, so that it never changes and no prompt is on both sides.

In: examples. Out: a number in [0, 1) each; those below the fraction are held out. Knows no file and no order.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from burnish.data.examples import Example


def asked(example: Example) -> str:
    """What is asked: the prompt as JSON; where there is none (text, chats, ids, an empty prompt) everything that is said."""
    prompt = getattr(example, "prompt", None)
    said: Any = prompt or [value for name, value in vars(example).items() if name != "side"]
    return json.dumps(said, sort_keys=True, default=repr)


def draw(example: Example) -> float:
    """A number in [0, 1) from the hash of what is asked."""
    return int.from_bytes(hashlib.blake2b(asked(example).encode(), digest_size=6).digest()) / 2**48


def held_out(draws: NDArray[np.float64], fraction: float) -> NDArray[np.bool_]:
    """Which rows are held out: those that draw less than `fraction`, or the lowest when none does."""
    return draws < max(fraction, np.nextafter(draws.min(), 1.0)) if len(draws) else draws < fraction

"""How far sequences agree: ids, text, messages. Knows nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def common_prefix(*parts: Sequence[Any] | NDArray[Any]) -> int:
    """How many items all of `parts` begin with; arrays are compared as arrays."""
    shortest = min(map(len, parts))
    if isinstance(parts[0], np.ndarray):
        differs = np.zeros(shortest, dtype=np.bool_)
        for part in parts[1:]:
            differs |= np.asarray(part[:shortest]) != parts[0][:shortest]
        return int(differs.argmax()) if differs.any() else shortest
    agree = (all(item == items[0] for item in items[1:]) for items in zip(*parts, strict=False))
    return next((place for place, same in enumerate(agree) if not same), shortest)

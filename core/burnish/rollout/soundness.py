"""What a backend answered, looked at before anybody believes it: ids that the trained model has, a log-probability for each.

In: a completion, the size of the trained model's vocabulary. Out: the same completion, or a `ModelError` that says what is
wrong with it. Knows no backend.
"""

from __future__ import annotations

import math
from typing import Any

from burnish.errors import ModelError
from burnish.rollout.sampler import Completion

ROUNDING = 1e-3  # nats by which a log-probability may be above 0


def sound(answer: Completion, vocabulary: int | None) -> Completion:
    """The completion; ModelError where it cannot be trained on. vocabulary: ids that the trained model has, None if unknown."""
    if len(answer.logps) != len(answer.ids):
        raise ModelError(f"the backend gave {len(answer.logps)} log-probabilities for {len(answer.ids)} tokens")
    if odd := [one for one in answer.logps if not (math.isfinite(one) and one <= ROUNDING)]:
        raise ModelError(f"the backend says that it drew a token of log-probability {odd[0]}; it is finite, and 0 at most")
    foreign = [one for one in answer.ids if one < 0 or (vocabulary is not None and one >= vocabulary)]
    if foreign:
        raise ModelError(
            f"the backend drew the id {foreign[0]}, and the vocabulary of the trained model has "
            f"{'none below 0' if foreign[0] < 0 else f'{vocabulary} ids, from 0 on'}: sampler and trainer hold different "
            "models. Serve the model that `model.name` says"
        )
    return answer


def vocabulary_of(model: Any) -> int | None:
    """Ids of a model, where its config has them."""
    config: Any = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    size: int | None = getattr(text, "vocab_size", None)
    return size

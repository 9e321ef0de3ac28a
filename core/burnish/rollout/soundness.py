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


def sound(answer: Completion, vocabulary: int | None, likeliest: int = 0) -> Completion:
    """The completion; ModelError where it cannot be trained on. vocabulary: ids that the trained model has, None if unknown.
    likeliest: how many of the likeliest tokens it was asked for."""
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
    if likeliest:
        _check_likeliest(answer, vocabulary, likeliest)
    return answer


def _check_likeliest(answer: Completion, vocabulary: int | None, count: int) -> None:
    rows = [*zip(answer.likeliest_ids, answer.likeliest_logps, strict=False)]
    if len(rows) != len(answer.ids) or any(len(ids) != count or len(logps) != count for ids, logps in rows):
        raise ModelError(
            f"the backend was asked for the {count} likeliest tokens beside each of {len(answer.ids)}, and gave "
            f"{len(answer.likeliest_ids)} lists of {sorted({*map(len, answer.likeliest_ids)}) or 'none'}"
        )
    odd = [ids for ids, _ in rows if min(ids) < -1 or (vocabulary is not None and max(ids) >= vocabulary)]
    if odd:
        raise ModelError(
            f"the backend says that the likeliest tokens were {odd[0]}, which the vocabulary of {vocabulary} lacks"
        )
    wrong = [logps for _, logps in rows if not all(math.isfinite(one) and one <= ROUNDING for one in logps)]
    if wrong:
        raise ModelError(f"the backend gave the likeliest tokens log-probabilities {wrong[0]}; they are finite, and 0 at most")


def vocabulary_of(model: Any) -> int | None:
    """Ids of a model, where its config has them."""
    config: Any = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    size: int | None = getattr(text, "vocab_size", None)
    return size

"""Losses of a gap between two scores, as many methods share them. Knows only the gap; which scores and what scale is theirs."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn.functional import logsigmoid

Form = Literal["sigmoid", "hinge", "ipo"]


def logistic(gap: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of sigmoid(gap) against a preference that is the wrong way round with probability e: same shape, nats.

        -(1 - e) log sigmoid(gap) - e log sigmoid(-gap)                               e: label_smoothing
    """
    if not label_smoothing:
        return -logsigmoid(gap)
    return -(1 - label_smoothing) * logsigmoid(gap) - label_smoothing * logsigmoid(-gap)


def contrast(form: Form, gap: Tensor, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """The loss of a gap in one of three forms: same shape.

        sigmoid    logistic(beta gap, e)
        hinge      max(0, 1 - beta gap)
        ipo        (gap - 1 / (2 beta))^2
    """
    if form == "sigmoid":
        return logistic(beta * gap, label_smoothing)
    return (1 - beta * gap).relu() if form == "hinge" else (gap - 0.5 / beta) ** 2


def check_smoothing(label_smoothing: float, form: Form = "sigmoid") -> None:
    """ValueError unless a share of preferences below one half may be wrong, and none under a form that cannot express it."""
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(f"label_smoothing must lie in [0, .5), got {label_smoothing}")
    if label_smoothing and form != "sigmoid":
        raise ValueError(f"label_smoothing belongs to the form sigmoid, not to {form}; got {label_smoothing}")

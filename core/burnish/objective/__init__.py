"""The loss contract. In: units with their targets, and signals that a model gave for them. Out: one number to minimise, its
parts and metrics, and the state of their statistics.

Knows nothing of layouts, padding, accumulation, ranks or optimisers. What an author of a loss imports is here.
"""

from burnish.objective.contrasts import Form, check_smoothing, contrast, logistic
from burnish.objective.ragged import Ragged
from burnish.objective.ratios import check_clip, clip_metrics, clipped, ratio_of
from burnish.objective.rewards import (
    PAIR_METRICS,
    TOKEN_METRICS,
    ImplicitReward,
    SequenceReward,
    pair_metrics,
    token_metrics,
    unpaired_metrics,
)
from burnish.objective.terms import Metric, Terms
from burnish.objective.views import Lists, Pairs, Sequences, Triples, View

__all__ = [
    "PAIR_METRICS",
    "TOKEN_METRICS",
    "Form",
    "ImplicitReward",
    "Lists",
    "Metric",
    "Pairs",
    "Ragged",
    "SequenceReward",
    "Sequences",
    "Terms",
    "Triples",
    "View",
    "check_clip",
    "check_smoothing",
    "clip_metrics",
    "clipped",
    "contrast",
    "logistic",
    "pair_metrics",
    "ratio_of",
    "token_metrics",
    "unpaired_metrics",
]

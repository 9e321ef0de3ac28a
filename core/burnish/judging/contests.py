"""Scores against preferences: how often they agree, whether their certainty is earned, and who wins.

In: scores of answers that were compared. Out: numbers and tables. Knows no model and no text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ELO, BASE = 400 / math.log(10), 1000.0
ROUNDS = 1000


@dataclass(frozen=True)
class Bin:
    """Pairs whose probability falls into [low, high). said: mean probability that the higher score wins; found: share in which
    it was preferred, ties half."""

    low: float
    high: float
    count: int
    said: float
    found: float


def accuracy(margins: Sequence[float]) -> float:
    """Share of pairs whose preferred answer scores higher. margins: preferred minus other; a tie is not won."""
    return sum(margin > 0 for margin in margins) / len(margins)


def calibration(margins: Sequence[float], num_bins: int = 5) -> list[Bin]:
    """Bins of sigmoid(|margin|) from one half to 1, empty ones left out."""
    numbers = np.asarray(margins, np.float64)
    said = 1 / (1 + np.exp(-np.abs(numbers)))
    won = np.where(numbers == 0, 0.5, numbers > 0)
    edges = np.linspace(0.5, 1, num_bins + 1)
    place = np.minimum(((said - 0.5) * 2 * num_bins).astype(int), num_bins - 1)
    return [
        Bin(float(edges[k]), float(edges[k + 1]), int(here.sum()), float(said[here].mean()), float(won[here].mean()))
        for k in range(num_bins)
        if (here := place == k).any()
    ]


def calibration_error(bins: Iterable[Bin]) -> float:
    """Mean distance of what was said from what was found, weighted by pairs."""
    bins = list(bins)
    return sum(one.count * abs(one.said - one.found) for one in bins) / sum(one.count for one in bins)


def auc(scores: Sequence[float], good: Sequence[bool]) -> float | None:
    """Probability that a good answer scores above a bad one, ties half; None without both."""
    ranks, marks = _ranks(np.asarray(scores, np.float64)), np.asarray(good, np.bool_)
    num_good, num_bad = int(marks.sum()), int((~marks).sum())
    if not num_good or not num_bad:
        return None
    return float((ranks[marks].sum() - num_good * (num_good - 1) / 2) / (num_good * num_bad))


def rank_correlation(scores: Sequence[float], ratings: Sequence[float]) -> float | None:
    """Spearman's; None where all scores or all ratings are equal."""
    one, other = (_ranks(np.asarray(numbers, np.float64)) for numbers in (scores, ratings))
    if one.std() == 0 or other.std() == 0:
        return None
    return float(np.corrcoef(one, other)[0, 1])


@dataclass(frozen=True)
class Standing:
    """One contestant. wins: expected by the scores, of `games`."""

    name: str
    elo: float
    wins: float
    games: int


def standings(games: Iterable[tuple[str, str, float]]) -> list[Standing]:
    """Elo ratings of contestants, best first; the mean is 1000. games: (one, other, score of one minus score of the other).

    The scores play each game: one wins by sigmoid(difference). Ratings are the Bradley-Terry strengths that make these wins
    most likely, with one drawn game against an average player each, so that who always wins stays finite.
    """
    if not (played := list(games)):
        return []
    names = sorted({name for one, other, _ in played for name in (one, other)})
    index = {name: place for place, name in enumerate(names)}
    wins, count = np.zeros((len(names),) * 2), np.zeros((len(names),) * 2)
    for one, other, margin in played:
        won, (a, b) = 1 / (1 + math.exp(-margin)) if margin > -700 else 0.0, (index[one], index[other])
        wins[a, b] += won
        wins[b, a] += 1 - won
        count[a, b] += 1
        count[b, a] += 1
    np.fill_diagonal(wins, 0)
    np.fill_diagonal(count, 0)
    strengths = _strengths(wins, count)
    elos = BASE + ELO * (np.log(strengths) - np.log(strengths).mean())
    table = [Standing(name, float(elos[k]), float(wins[k].sum()), int(count[k].sum())) for name, k in index.items()]
    return sorted(table, key=lambda row: (-round(row.elo, 3), row.name))


def _strengths(wins: NDArray[np.float64], count: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bradley-Terry strengths by minorisation (Hunter 2004, doi:10.1214/aos/1079120141, eq. 3)."""
    strengths = np.ones(len(wins))
    for _ in range(ROUNDS):
        together = strengths[:, None] + strengths[None, :]
        new = (wins.sum(1) + 0.5) / ((count / together).sum(1) + 1 / (strengths + 1))
        if np.allclose(new, strengths, rtol=1e-10):
            break
        strengths = new
    return strengths


def _ranks(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 0, equal numbers sharing their mean."""
    _, inverse, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: NDArray[np.float64] = (ends - (counts + 1) / 2)[inverse]
    return ranks

"""What a judge's scores of many rows say about the judge and about those who wrote the answers, gathered row by row.

In: examples and verdicts. Out: the numbers that a row gets, and lists for `contests` and `steps` to make tables of.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from burnish.data.examples import Example, Rated, Stepwise, Unpaired
from burnish.judging.classifier import MAIN, Verdict
from burnish.judging.contests import Standing, standings
from burnish.judging.steps import Aggregate, aggregate, first_wrong

WRITERS = ("model", "solver", "source")
"""Columns that may say who wrote an answer; of a pair `chosen_model` and `rejected_model`, and so on."""
BEST_FIRST = ("gold", "chosen", "rejected")


@dataclass
class Evidence:
    """count: examples heard. left_out: reason -> how many of them. scores: all. margins: preferred minus other, of every pair.
    named, true: first wrong step by the judge and by the labels. rated, marked: a score with its rating, with its mark."""

    aggregate: Aggregate = "product"
    count: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    scores: list[float] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    named: list[int | None] = field(default_factory=list)
    true: list[int | None] = field(default_factory=list)
    rated: list[tuple[float, float]] = field(default_factory=list)
    marked: list[tuple[float, bool]] = field(default_factory=list)
    _games: list[tuple[str, str, float]] = field(default_factory=list)
    _answers: dict[str, list[tuple[str, float]]] = field(default_factory=dict)

    def hear(self, example: Example, verdict: Verdict) -> dict[str, Any]:
        """Take in one example; returns the columns that its row gets: `score`, or `score_ROLE` for each of several answers, or
        `scores` of a list, and likewise `step_scores`; `not_scored` says why there are none."""
        self.count += 1
        if verdict.reason is not None:
            self.left_out[verdict.reason.partition(":")[0]] += 1
            return {"score": None, "not_scored": verdict.reason}
        scores = dict(verdict.scores) or {role: aggregate(self.aggregate, steps) for role, steps in verdict.steps.items()}
        self.scores += scores.values()
        self._compare(example, scores)
        self._name_writers(example, scores)
        if isinstance(example, Stepwise) and verdict.steps:
            self.named.append(first_wrong(verdict.steps[MAIN]))
            self.true.append(first_wrong(example.labels))
        return _columns("score", scores) | _columns("step_scores", {role: [*steps] for role, steps in verdict.steps.items()})

    def standings(self) -> list[Standing]:
        """Who writes the better answers, by the scores; empty where rows do not say who wrote them."""
        pairs = (pair for answers in self._answers.values() for pair in combinations(answers, 2))
        return standings([*self._games, *((one, other, score - less) for (one, score), (other, less) in pairs)])

    def _compare(self, example: Example, scores: dict[str, float]) -> None:
        """Preferences, ratings and marks that the example comes with."""
        ranked = [score for role, score in scores.items() if role.startswith("item")]
        ranked = ranked or [scores[role] for role in BEST_FIRST if role in scores]
        self.margins += [better - worse for better, worse in combinations(ranked, 2)]
        if isinstance(example, Rated):
            self.rated.append((scores[MAIN], example.rating))
        if isinstance(example, Unpaired):
            self.marked.append((scores[MAIN], example.label))

    def _name_writers(self, example: Example, scores: dict[str, float]) -> None:
        """Games that the example's answers play, now or with other answers to its prompt."""
        columns = example.columns
        for name in WRITERS:
            two = [columns.get(f"{side}_{name}") for side in ("chosen", "rejected")]
            if None not in two and {"chosen", "rejected"} <= scores.keys():
                self._games.append((str(two[0]), str(two[1]), scores["chosen"] - scores["rejected"]))
                return
            if columns.get(name) is not None and MAIN in scores and (prompt := getattr(example, "prompt", None)) is not None:
                asked = json.dumps(prompt, sort_keys=True, default=str)
                self._answers.setdefault(asked, []).append((str(columns[name]), scores[MAIN]))
                return


def _columns(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """One value as `name`, those of a list together, those of roles as `name_ROLE`."""
    if MAIN in values:
        return {name: values[MAIN]}
    if "item0" in values:
        return {f"{name}s" if name == "score" else name: list(values.values())}
    return {f"{name}_{role}": value for role, value in values.items()}

"""PRM800K's form: a problem, and for every step the alternatives that were rated and the one that the solution went on with.

`question.problem`; `label.steps`, a list of {completions: [{text, rating}], human_completion, chosen_completion}. A rating is
-1 (wrong), 0 (neither helps nor harms), 1 (right) or null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from burnish.data.examples import Row, RowError, Stepwise
from burnish.data.formats.columns import brief, side

LABELS = {-1: 0.0, 0: 1.0, 1: 1.0}
EXAMPLES: list[dict[str, Any]] = [
    {
        "question": {"problem": "What is 2 + 2 + 2?", "ground_truth_answer": "6"},
        "label": {
            "steps": [
                {
                    "completions": [{"text": "2 + 2 = 5.", "rating": -1}, {"text": "2 + 2 = 4.", "rating": 1}],
                    "human_completion": None,
                    "chosen_completion": 1,
                },
                {
                    "completions": [{"text": "4 + 2 = 7.", "rating": -1}],
                    "human_completion": None,
                    "chosen_completion": None,
                },
            ],
            "finish_reason": "found_error",
        },
    }
]


class PRM800K:
    """The path that the labeller took, each step with its rating."""

    name = "prm800k"
    kind = "stepwise"

    def sniff(self, row: Row) -> float:
        """2 when `question` has a problem and `label` a list of steps with completions."""
        question, label = row.get("question"), row.get("label")
        if not (isinstance(question, Mapping) and isinstance(question.get("problem"), str) and isinstance(label, Mapping)):
            return 0.0
        return 2.0 * (_is_list(label.get("steps")) and all(isinstance(step, Mapping) for step in label["steps"]))

    def convert(self, row: Row) -> Stepwise:
        """The problem, and steps up to where the path ends: at the finish, or at a step that nothing followed."""
        if not self.sniff(row):
            found = ", ".join(f"{name}: {brief(row.get(name))}" for name in ("question", "label"))
            raise RowError(f"expected question {{problem}} and label {{steps: [...]}}; found {found}")
        path: list[tuple[str, float]] = []
        for number, step in enumerate(row["label"]["steps"]):
            taken = _taken(step, number)
            if taken is not None:
                path.append(taken)
            if taken is None or not _goes_on(step):
                break
        if not path:
            raise RowError("expected a rated step; found none")
        steps, labels = zip(*path, strict=True)
        return Stepwise(row["question"]["problem"], steps, labels, side=side(row, ("question", "label")))


def _taken(step: Mapping[str, Any], number: int) -> tuple[str, float] | None:
    """The step that the path took and its label; None where nothing was rated.

    In this order: the chosen alternative; a person's own step, which is right; the first rated one, where the path ends.
    """
    rated = step.get("completions") or []
    chosen, human = step.get("chosen_completion"), step.get("human_completion")
    if chosen is not None:
        if not (isinstance(chosen, int) and 0 <= chosen < len(rated)):
            raise RowError(f"step {number}: expected 'chosen_completion' to name one of {len(rated)}; found {brief(chosen)}")
        return _labelled(rated[chosen], number)
    if human is not None:
        return _text(human, number), 1.0
    return next((_labelled(one, number) for one in rated if one.get("rating") is not None), None)


def _goes_on(step: Mapping[str, Any]) -> bool:
    return step.get("chosen_completion") is not None or step.get("human_completion") is not None


def _labelled(completion: Any, number: int) -> tuple[str, float]:
    rating = completion.get("rating") if isinstance(completion, Mapping) else None
    if rating not in LABELS:
        raise RowError(f"step {number}: expected a rating of -1, 0 or 1; found {brief(rating)}")
    return _text(completion, number), LABELS[rating]


def _text(completion: Any, number: int) -> str:
    if not (isinstance(completion, Mapping) and isinstance(completion.get("text"), str)):
        raise RowError(f"step {number}: expected a completion with 'text'; found {brief(completion)}")
    return str(completion["text"])


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0

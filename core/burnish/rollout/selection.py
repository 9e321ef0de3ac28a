"""Choosing among journaled trajectories, and rows of data made of them. In: a journal, a tokenizer. Out: trajectories, rows.

Knows no model. Texts are for people and for data sets; what a run trains on are the ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from burnish.data.units import LIKELIEST_IDS, LIKELIEST_LOGPS
from burnish.errors import RunError, did_you_mean
from burnish.rollout.contract import Outcome
from burnish.rollout.journal import Journal
from burnish.rollout.trajectory import Trajectory, by_group

Form = Literal["completions", "preferences", "trajectories"]


@dataclass(frozen=True)
class Choice:
    """What is wanted of a journal; None is no limit. number: one rollout batch. Rewards and lengths (tokens) are inclusive."""

    number: int | None = None
    outcome: str | None = None
    min_reward: float | None = None
    max_reward: float | None = None
    min_length: int | None = None
    max_length: int | None = None

    def __post_init__(self) -> None:
        if self.outcome is not None and self.outcome not in get_args(Outcome):
            raise RunError(f"no outcome named '{self.outcome}'. {did_you_mean(self.outcome, get_args(Outcome))}")

    def accepts(self, one: Trajectory) -> bool:
        """Whether a trajectory is wanted."""
        return (
            (self.outcome is None or one.outcome == self.outcome)
            and (self.min_reward is None or one.reward >= self.min_reward)
            and (self.max_reward is None or one.reward <= self.max_reward)
            and (self.min_length is None or one.length >= self.min_length)
            and (self.max_length is None or one.length <= self.max_length)
        )

    def of(self, journal: Journal) -> Iterator[tuple[int, list[Trajectory]]]:
        """The trajectories wanted, by the number of their rollout batch; batches without one are left out."""
        for number in journal.numbers() if self.number is None else [self.number]:
            chosen = [one for one in journal.read(number) or () if self.accepts(one)]
            if chosen:
                yield number, chosen


def texts(one: Trajectory, tokenizer: Any) -> tuple[str, str]:
    """The prompt with its special tokens, and all that came after it, without those that end it."""
    start = int(one.own.argmax()) if one.own.any() else len(one.ids)
    prompt: str = tokenizer.decode(one.ids[:start], skip_special_tokens=False)
    answer: str = tokenizer.decode(one.ids[start:], skip_special_tokens=bool(one.own[start:].all()))
    return prompt, answer


def by_step(one: Trajectory) -> dict[str, list[float]]:
    """What each step or turn earned, by the name of the reward; empty where only the whole was judged."""
    steps = one.tokens.get("steps", np.zeros(len(one.ids), np.float32)).astype(np.int64)
    return {
        name: np.bincount(steps[one.own], numbers[one.own].astype(np.float64)).tolist() for name, numbers in one.earned.items()
    }


def rows(trajectories: Iterable[Trajectory], form: Form, tokenizer: Any) -> Iterator[dict[str, Any]]:
    """Data rows: one for each trajectory (`completions` as text, `trajectories` as ids with their numbers), or one for each
    group whose best and worst rewards differ (`preferences`)."""
    chosen = list(trajectories)
    if form == "preferences":
        for group in by_group(one for one in chosen if one.is_trainable):
            best, worst = max(group, key=lambda one: one.reward), min(group, key=lambda one: one.reward)
            if best.reward > worst.reward:
                (prompt, good), (_, bad) = texts(best, tokenizer), texts(worst, tokenizer)
                # No `margin`: a loss would take it off its own, which what is trained on during the run does not ask for.
                won = {"reward_chosen": best.reward, "reward_rejected": worst.reward}
                yield {"prompt": _unbegun(prompt, tokenizer), "chosen": good, "rejected": bad, **won}
        return
    for one in chosen:
        if form == "completions":
            prompt, answer = texts(one, tokenizer)
            yield {"prompt": _unbegun(prompt, tokenizer), "completion": answer, "reward": one.reward, **one.rewards}
        else:
            yield id_row(one)


def _unbegun(prompt: str, tokenizer: Any) -> str:
    """A prompt as text to be tokenised: without a beginning of sequence that the tokenizer then puts before it again."""
    begins = tokenizer.bos_token
    adds = begins is not None and tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]
    return prompt.removeprefix(begins) if adds else prompt


def id_row(one: Trajectory) -> dict[str, Any]:
    """A trajectory as a row of ids with their numbers."""
    start = int(one.own.argmax()) if one.own.any() else len(one.ids)
    numbers = {"behaviour": "behaviour_logps", "old": "old_logps", "reference": "ref_logps", "advantages": "advantages"}
    return {
        "prompt_ids": one.ids[:start].tolist(),
        "completion_ids": one.ids[start:].tolist(),
        "completion_mask": one.own[start:].astype(int).tolist(),
        **{column: one.tokens[name][start:].tolist() for name, column in numbers.items() if name in one.tokens},
        **_likeliest(one, start),
        "reward": one.reward,
        "outcome": one.outcome,
    }


def _likeliest(one: Trajectory, start: int) -> dict[str, Any]:
    """What the sampler reported beside the tokens from `start` on, where it did."""
    if LIKELIEST_IDS not in one.tokens:
        return {}
    ids, logps = one.tokens[LIKELIEST_IDS][start:], one.tokens[LIKELIEST_LOGPS][start:]
    return {LIKELIEST_IDS: ids.astype(np.int64).tolist(), LIKELIEST_LOGPS: logps.tolist()}

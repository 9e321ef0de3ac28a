"""Canaries: a few prompts that a backend is asked again and again, since the trainer knows what it must answer how probably.

In: a backend, the trained model's own scores. Out: how far apart the two are, in nats a token. The prompts are ids without
meaning, short ones and ones longer than a block of any prefix cache; they are asked like rollouts, and never trained on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from burnish.config.sections import DrawnSection
from burnish.data.units import Sequence as Ids
from burnish.engine.step import StepRunner
from burnish.model.signals import logp
from burnish.rollout.contract import Backend
from burnish.rollout.sampler import Completion
from burnish.rollout.soundness import sound

NEW_TOKENS = 8
FEW_TOKENS = 1  # at every update, where each further token would be another pass over the weights
LENGTHS = (4, 4, 4, 4, 144, 144)  # two of more than 128 ids, the largest block of a prefix cache that is in use
SEED = 20231


@dataclass(frozen=True)
class Answers:
    """What the canaries sang: prompt and completion of each, in order."""

    prompts: tuple[tuple[int, ...], ...]
    completions: tuple[Completion, ...]

    @property
    def logps(self) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
        """What the backend says that each sampled token's log-probability was."""
        return [np.array(one.logps, np.float64) for one in self.completions]

    @property
    def versions(self) -> set[int]:
        """Of the weights that drew them, where the backend says so."""
        return {version for one in self.completions for version in one.versions}


Scores = list[np.ndarray[Any, np.dtype[np.float64]]]
"""One array per canary: nats of each of its tokens."""


@dataclass(frozen=True)
class Canaries:
    """prompts: each as often as the backend has replicas, one right after the other, so that every replica is asked each."""

    prompts: tuple[tuple[int, ...], ...]
    temperature: float
    runner: StepRunner
    vocabulary: int
    new_tokens: int = NEW_TOKENS

    @classmethod
    def of(cls, tokenizer: Any, config: Any, backend: Backend, temperature: float, runner: StepRunner) -> Canaries:
        """For a model of this transformers config: ids that tokenizer and model both have, none of them special."""
        text = config.get_text_config()
        special = set(tokenizer.all_special_ids)
        usual = np.array([one for one in range(min(len(tokenizer), text.vocab_size)) if one not in special])
        room = (getattr(text, "max_position_embeddings", None) or max(LENGTHS) + NEW_TOKENS) - NEW_TOKENS
        draw = np.random.default_rng(SEED)
        prompts = [tuple(draw.choice(usual, max(1, min(length, room))).tolist()) for length in LENGTHS]
        asked = tuple(one for one in prompts for _ in range(backend.capabilities.replicas))
        return cls(asked, temperature, runner, text.vocab_size)

    @property
    def short(self) -> Canaries:
        """Those that cost little, for every update."""
        short = tuple(one for one in self.prompts if len(one) <= min(LENGTHS))
        return replace(self, prompts=short, new_tokens=FEW_TOKENS)

    async def ask(self, backend: Backend) -> Answers:
        """What the backend makes of them; the same again from the same weights."""
        sampling = DrawnSection(max_new_tokens=self.new_tokens, temperature=self.temperature)
        asked = [backend.generate(ids, sampling, SEED + place) for place, ids in enumerate(self.prompts)]
        return Answers(self.prompts, tuple(sound(one, self.vocabulary) for one in await asyncio.gather(*asked)))

    def score(self, answers: Answers) -> Scores:
        """What the trained model says of the same tokens; every rank must call it with the same answers."""
        sequences, masks = [], []
        for prompt, completion in zip(answers.prompts, answers.completions, strict=True):
            ids = np.array([*prompt, *completion.ids], np.int64)
            masks.append(np.arange(len(ids)) >= len(prompt))
            sequences.append(Ids(ids, {"completion": masks[-1]}))
        signal = logp("old", self.temperature)
        found = self.runner.roles.score_frozen("old", sequences, masks, (signal,), self.runner.budget)
        return [numbers[signal].astype(np.float64) for numbers in found]


def apart(left: Scores, right: Scores) -> float:
    """The mean difference, nats a token; 0 of nothing."""
    gaps = np.concatenate([np.abs(one - other) for one, other in zip(left, right, strict=True)])
    return float(gaps.mean()) if len(gaps) else 0.0


def each_apart(left: Scores, right: Scores) -> list[float]:
    """The mean difference of each canary, nats a token."""
    return [apart([one], [other]) for one, other in zip(left, right, strict=True)]


def in_common(answers: Answers, before: Answers) -> list[int]:
    """Of each canary, how many of its first tokens are the same in both: their log-probabilities are of the same things."""
    return [_shared(one.ids, other.ids) for one, other in zip(answers.completions, before.completions, strict=True)]


def _shared(left: Sequence[int], right: Sequence[int]) -> int:
    for place, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return place
    return min(len(left), len(right))

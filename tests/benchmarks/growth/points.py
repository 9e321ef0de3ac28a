"""What is measured: one setting moves at a time, from one middle point.

In: nothing. Out: points, each a policy-gradient step on groups of completions of a random Llama, the curves that they lie on,
and the rows of a point.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

SMALLEST_VOCABULARY = 261  # of the tiny tokenizer


@dataclass(frozen=True)
class Point:
    """A setting. prompt, completion: tokens; group: completions to a prompt; prompts: of a step; vocabulary: the model's.

    ranks: processes, each with so many threads; plugins: made-up ones beside those that are installed.
    """

    prompt: int = 256
    completion: int = 64
    group: int = 8
    prompts: int = 2
    vocabulary: int = 8192
    layers: int = 6
    hidden: int = 256
    ranks: int = 1
    threads: int = 2
    plugins: int = 0

    @property
    def unique_tokens(self) -> int:
        """Of a step, each prompt once."""
        return self.prompts * (self.prompt + self.group * self.completion)

    @property
    def plain_tokens(self) -> int:
        """Of a step, where each completion has its prompt to itself."""
        return self.prompts * self.group * (self.prompt + self.completion)

    @property
    def name(self) -> str:
        """What differs from the middle."""
        changed = [field.name for field in fields(self) if getattr(self, field.name) != field.default]
        return ", ".join(f"{name} {getattr(self, name)}" for name in changed) or "middle"


@dataclass(frozen=True)
class Curve:
    """Points along one setting. label: of the axis."""

    name: str
    label: str
    setting: str
    values: tuple[int, ...]

    def points(self, middle: Point) -> Iterator[Point]:
        """From the smallest to the largest."""
        yield from (replace(middle, **{self.setting: value}) for value in self.values)


CURVES = (
    Curve("prompt length", "tokens of a prompt", "prompt", (64, 256, 512, 1024, 2048)),
    Curve("completion length", "tokens of a completion", "completion", (16, 64, 128, 256)),
    Curve("group size", "completions to a prompt", "group", (1, 2, 4, 8, 16, 32)),
    Curve("batch", "prompts of a step", "prompts", (1, 2, 4, 8)),
    Curve("vocabulary", "tokens in the vocabulary", "vocabulary", (2048, 8192, 32768, 131072, 262144)),
    Curve("plugins", "made-up plugins installed", "plugins", (0, 100, 400)),
)
RANKS = (Point(threads=1), Point(), Point(ranks=2, threads=1))
POLICY: list[Any] = [{"grpo": {}}, {"cispo": {}}, {"sapo": {}}]
PAIRS: list[Any] = [{"dpo": {}}, {"ipo": {}}, {"bco_pair": {}}]
LOSSES = {"policy gradient": POLICY, "pairs": PAIRS}
"""Objectives of 1, 2 and 3 losses: the first ones of each list, which read the same signals."""


def shape(point: Point) -> dict[str, Any]:
    """Of the model, as `tiny_model` takes it."""
    heads = max(point.hidden // 64, 4)
    return {
        "hidden_size": point.hidden,
        "intermediate_size": 3 * point.hidden,
        "num_hidden_layers": point.layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 2,
        "head_dim": point.hidden // heads,
        "vocab_size": max(point.vocabulary, SMALLEST_VOCABULARY),
        "max_position_embeddings": 4096,
        "initializer_range": 0.02,
    }


def rows(point: Point) -> list[dict[str, Any]]:
    """Groups of drawn ids, one trajectory a row; half of a group was good."""
    draw = np.random.default_rng(0)
    found = []
    for _ in range(point.prompts):
        prompt = _ids(draw, point.prompt)
        for member in range(point.group):
            advantage = 1.0 if member % 2 else -1.0
            found.append({"prompt_ids": prompt, "completion_ids": _ids(draw, point.completion), "advantages": advantage})
    return found


def pairs(point: Point) -> list[dict[str, str]]:
    """As many pairs of letters as the point has pairs of completions; the tiny tokenizer makes a token of each letter."""
    draw = np.random.default_rng(0)

    def text(length: int) -> str:
        return "".join(map(chr, draw.integers(97, 123, length)))

    prompts = [text(point.prompt) for _ in range(point.prompts * max(point.group // 2, 1))]
    sides = ("chosen", "rejected")
    return [{"prompt": prompt, **{side: text(point.completion - 1) for side in sides}} for prompt in prompts]


def _ids(draw: np.random.Generator, length: int) -> list[int]:
    found: list[int] = draw.integers(0, 256, length).tolist()
    return found

"""Marked answers, read from another source, each with its weight. In: the name of a source and of a model. Out: raw rows with
TRL's columns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from burnish.config.sections import SourceSection
from burnish.data.examples import RowError, Said, Unpaired
from burnish.data.prepare import open_reader
from burnish.errors import DataError
from burnish.model.loading import find_model
from burnish.registry import load
from burnish_udm.embed import embed
from burnish_udm.ratio import density_ratios


@dataclass(frozen=True, kw_only=True)
class UDM:
    """The answers in `rows`; the bad ones weigh p(good | prompt) / p(bad | prompt), between `low` and `high`.

    Source: Jung et al. 2024, arXiv:2404.04656, section 3.3. Deviations: the sample is drawn without repetition.
    """

    rows: str
    embedder: str
    split: str = "train"
    format: str = "auto"
    low: float = 0.5
    high: float = 10.0
    sample: int = 1024
    seed: int = 0
    max_length: int = 512
    batch_size: int = 32

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high < math.inf:
            raise DataError(f"udm: 0 <= low <= high is needed, got low {self.low} and high {self.high}")
        if min(self.sample, self.max_length, self.batch_size) < 1:
            raise DataError("udm: sample, max_length and batch_size must be at least 1")

    def __len__(self) -> int:
        return len(self._weighed)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._weighed)

    @cached_property
    def _weighed(self) -> list[dict[str, Any]]:
        answers = self._answers()
        good = np.array([answer.label for answer in answers])
        if good.all() or not good.any():
            which = "only good" if good.all() else "no good"
            raise DataError(f"udm: {self.rows} holds {which} answers; a ratio needs both marks")
        registry, random = load(), np.random.default_rng(self.seed)
        fitted = np.concatenate([random.permutation(np.flatnonzero(good == mark))[: self.sample] for mark in (True, False)])
        texts = [text_of(answer.prompt) for answer in answers]
        points = embed(texts, str(find_model(self.embedder, registry)), self.max_length, self.batch_size)
        ratios = np.clip(density_ratios(points, good, fitted), self.low, self.high)
        return [row_of(answer, 1.0 if answer.label else float(ratio)) for answer, ratio in zip(answers, ratios, strict=True)]

    def _answers(self) -> list[Unpaired]:
        section = SourceSection(source=self.rows, split=self.split, format=self.format)
        reader = open_reader("udm", section, load())
        if reader.kind != "unpaired":
            raise DataError(f"udm: weighs unpaired rows (prompt, completion, label); {self.rows} holds {reader.kind}")
        answers = []
        for _, example in reader.examples():
            if isinstance(example, RowError):
                raise example
            if isinstance(example, Unpaired):
                answers.append(example)
        return answers


def text_of(prompt: Said) -> str:
    """What is embedded: the text, or what all turns say, one below the other."""
    return prompt if isinstance(prompt, str) else "\n".join(str(turn.get("content", "")) for turn in prompt)


def row_of(answer: Unpaired, weight: float) -> dict[str, Any]:
    """The answer as a raw row that the built-in format `unpaired` reads."""
    side = answer.side
    prompt, completion = (said if isinstance(said, str) else list(said) for said in (answer.prompt, answer.completion))
    row: dict[str, Any] = {**side.columns, "prompt": prompt, "completion": completion, "label": answer.label}
    row["weight"] = weight * (1.0 if side.weight is None else side.weight)
    if side.tools:
        row["tools"] = list(side.tools)
    if side.chat_template_kwargs:
        row["chat_template_kwargs"] = dict(side.chat_template_kwargs)
    return row

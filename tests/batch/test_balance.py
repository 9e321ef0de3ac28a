"""Micro-batches of the shared data, and of drawn lengths, are even: the longest is at most 5 % above the ideal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.batch.layout import Kind
from burnish.batch.plan import plan
from burnish.batch.trie import num_unique_tokens
from burnish.data.units import Sequence, Unit

EVEN = 1.05


def texts(*pieces: str) -> Unit:
    """Sequences of four letters a token, which is about what a vocabulary gives."""
    cut = [one.encode()[: max(len(one.encode()) // 4, 1) * 4].ljust(4, b".") for one in pieces]
    ids = [np.frombuffer(one, "<u4").astype(np.int64)[:1024] for one in cut]
    return Unit("ranked", tuple(Sequence(one, {}, role=f"item{place}") for place, one in enumerate(ids)))


def instructions(row: dict[str, Any]) -> Unit:
    return texts(row["instruction"] + row["input"] + row["output"])


def pairs(row: dict[str, Any]) -> Unit:
    prompt = "".join(turn["value"] for turn in row["conversations"])
    return texts(prompt + row["chosen"]["value"], prompt + row["rejected"]["value"])


def dialogues(row: dict[str, Any]) -> Unit:
    return texts(row["chosen"], row["rejected"])


def marked(row: dict[str, Any]) -> Unit:
    return texts("".join(message["content"] for message in row["messages"]))


def unevenness(units: list[Unit], budget: int, kind: Kind, num_ranks: int) -> float:
    """The longest micro-batch over the ideal, which no plan into so many can be below.

    That is the mean one, the longest unit, or, of m micro-batches, the m-th and the next longest unit together, since two of so
    many must meet. Units that exceed the budget alone are left out.
    """
    micros = [micro for micro in chain.from_iterable(plan(units, budget, kind, num_ranks)) if micro.num_tokens <= budget]
    costs = [micro.num_tokens for micro in micros if micro.units]
    cost = num_unique_tokens if kind == "tree" else lambda sequences: sum(map(len, sequences))
    alone = sorted((cost(unit.sequences) for micro in micros for unit in micro.units), reverse=True)
    return max(costs) / max(sum(costs) / len(costs), alone[0], sum(alone[len(costs) - 1 : len(costs) + 1]))


@pytest.mark.parametrize("kind", ["tree", "packed"])
@pytest.mark.parametrize(
    ("folder", "unit"),
    [("instruct_alpaca", instructions), ("pref_sharegpt", pairs), ("hh_rlhf_harmless", dialogues), ("kto_unpaired", marked)],
)
def test_the_shared_data(folder: str, unit: Callable[[dict[str, Any]], Unit], kind: Kind, shared_data: Path) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        with (shared_data / folder / "train.jsonl").open(encoding="utf-8") as file:
            yield from map(json.loads, islice(file, 256))

    units = [unit(row) for row in rows()]
    for start in range(0, 256, 64):
        batch = units[start : start + 64]
        assert unevenness(batch, 4096, kind, 1) <= EVEN
        assert unevenness(batch, 2048, kind, 1) <= EVEN


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["tree", "packed"]))
def test_drawn_lengths(seed: int, kind: Kind) -> None:
    # Lengths as answers have them: log-normal, many short ones, a few long. Eight or more to a micro-batch.
    draw = np.random.default_rng(seed)
    lengths = np.clip(draw.lognormal(4.5, 0.8, 64), 5, 500).astype(int)
    units = [Unit("text", (Sequence(np.full(length, place), {}),)) for place, length in enumerate(lengths)]
    assert unevenness(units, max(int(lengths.sum()) // 6, 500), kind, 1) <= EVEN

"""Advantages against TRL's own: its trainers draw completions, given rewards make of them what it makes, and so do ours."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from burnish.registry import AdvantageRecord, load
from burnish.testing import groups, tiny_tokenizer

trl = pytest.importorskip("trl", reason="TRL, the numeric peer, is not installed")

from datasets import Dataset  # noqa: E402

SIZE = 4
# Two rewards of eight completions, two groups of four; None where one does not apply, a constant group where the other is.
FIRST: list[float | None] = [1.0, 0.0, 0.25, 1.0, 0.5, 0.5, 0.5, 0.5]
SECOND: list[float | None] = [10.0, None, -5.0, 7.5, 3.0, None, 1.0, 3.0]
WEIGHTS = [1.0, 0.1]


def first(completions: list[Any], **_: Any) -> list[float | None]:
    return FIRST[: len(completions)]


def second(completions: list[Any], **_: Any) -> list[float | None]:
    return SECOND[: len(completions)]


@pytest.fixture(scope="module")
def theirs(models: tuple[nn.Module, nn.Module], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[float]]:
    """TRL's advantages of the eight completions."""

    def advantages(kind: str, **options: Any) -> list[float]:
        folder: Path = tmp_path_factory.mktemp("trl")
        arguments = getattr(trl, f"{kind}Config")(
            output_dir=str(folder),
            use_cpu=True,
            bf16=False,
            report_to="none",
            per_device_train_batch_size=2 * SIZE,
            num_generations=SIZE,
            max_completion_length=2,
            beta=0.0,
            reward_weights=WEIGHTS,
            **options,
        )
        trainer = getattr(trl, f"{kind}Trainer")(
            model=models[0],
            args=arguments,
            reward_funcs=[first, second],
            train_dataset=Dataset.from_list([{"prompt": "one"}, {"prompt": "two"}]),
            processing_class=tiny_tokenizer(),
        )
        rows = [{"prompt": prompt} for prompt in ("one", "two") for _ in range(SIZE)]
        trainer.model.train()
        found: torch.Tensor = trainer._generate_and_score_completions(rows)["advantages"]
        return [float(value) for value in found]

    return advantages


def ours(name: str, **options: Any) -> list[float]:
    summed = [
        sum(weight * (value or 0.0) for weight, value in zip(WEIGHTS, pair, strict=True))
        for pair in zip(FIRST, SECOND, strict=True)
    ]
    given = groups(
        [summed[:SIZE], summed[SIZE:]],
        parts={
            part: [[math.nan if value is None else value for value in values[start : start + SIZE]] for start in (0, SIZE)]
            for part, values in (("first", FIRST), ("second", SECOND))
        },
        weights={"first": WEIGHTS[0], "second": WEIGHTS[1]},
    )
    return [float(value) for value in load().find(AdvantageRecord, name)(**options)(given).values]


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_group(theirs: Callable[..., list[float]], scale: str) -> None:
    expected = theirs("GRPO", scale_rewards=scale)
    assert ours("group", scale=scale) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert max(expected) > 0.1


def test_gdpo(theirs: Callable[..., list[float]]) -> None:
    expected = theirs("GRPO", multi_objective_aggregation="normalize_then_sum")
    assert ours("gdpo") == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("normalize", [False, True])
def test_rloo(theirs: Callable[..., list[float]], normalize: bool) -> None:
    expected = theirs("RLOO", normalize_advantages=normalize)
    assert ours("rloo", normalize=normalize) == pytest.approx(expected, rel=1e-5, abs=1e-6)

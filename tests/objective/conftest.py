"""A tiny model with a reference of its own, pairs to learn from, and the losses of `example_losses.py` by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from burnish.testing import Evaluation, evaluate, tiny_model, tiny_tokenizer

PAIRS = [
    {"prompt": "two and two? ", "chosen": "four", "rejected": "fi"},
    {"prompt": "two and two? ", "chosen": "it is four", "rejected": "five"},
    {"prompt": "the sky? ", "chosen": "blue", "rejected": "a green one"},
    {"prompt": "go: ", "chosen": "b", "rejected": "c"},
    {"prompt": "two and ", "chosen": "three", "rejected": "two"},
]


@pytest.fixture(scope="session")
def policy() -> nn.Module:
    """GPT-2, whose norms stay in float64."""
    return tiny_model("gpt2", torch.float64)


@pytest.fixture(scope="session")
def reference() -> nn.Module:
    return tiny_model("gpt2", torch.float64, seed=1)


@pytest.fixture(scope="session")
def pairs() -> list[dict[str, str]]:
    return PAIRS


@pytest.fixture
def run(policy: nn.Module, reference: nn.Module) -> Callable[..., Evaluation]:
    """`evaluate` on the pairs, or on `rows`."""

    def run(objective: Any, rows: Any = PAIRS, **options: Any) -> Evaluation:
        return evaluate(
            objective, rows, policy, tiny_tokenizer(chat=False), **{"reference": reference, "teacher": reference, **options}
        )

    return run


@pytest.fixture
def example() -> Callable[[str], str]:
    """The config value that names a class of `example_losses.py`."""
    return lambda name: f"{Path(__file__).parent / 'example_losses.py'}:{name}"


@pytest.fixture
def distance() -> Callable[[dict[str, torch.Tensor], dict[str, torch.Tensor]], float]:
    """How far two gradients are apart: by norm, relative."""

    def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
        assert one.keys() == other.keys()
        flat = [torch.cat([grads[name].flatten() for name in one]) for grads in (one, other)]
        return float((flat[0] - flat[1]).norm() / flat[1].norm())

    return distance

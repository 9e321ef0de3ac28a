"""Compiled blocks: the same numbers, names and trees, compiled once."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from burnish_compile.kernel import Compile
from torch import nn
from torch._dynamo.utils import counters
from transformers import AttentionInterface

import burnish
from burnish.batch.attention import NAME, tree_attention
from burnish.errors import ModelError
from burnish.testing import evaluate, tiny_model, tiny_tokenizer

OBJECTIVE = [{"dpo": {"beta": 0.5}}]


def rows(number: int, words: int = 1) -> list[dict[str, str]]:
    return [{"prompt": f"twice {a} is", "chosen": f" {2 * a}" * words, "rejected": " many"} for a in range(number)]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Nothing compiled before or after."""
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()
    AttentionInterface.register(NAME, tree_attention)


def test_the_same_numbers_compiled_once() -> None:
    plain = tiny_model("llama")
    compiled, reference = copy.deepcopy(plain), tiny_model("llama", seed=1)
    Compile(backend="aot_eager")(compiled)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    graphs = []
    for number, words in ((2, 1), (3, 2), (4, 7)):
        given = rows(number, words)
        expected, found = (
            evaluate(OBJECTIVE, given, one, tiny_tokenizer(chat=False), reference=reference) for one in (plain, compiled)
        )
        assert found.layout == "tree"
        assert found.loss == pytest.approx(expected.loss, rel=1e-5)
        for name, grad in expected.grads.items():
            torch.testing.assert_close(found.grads[name], grad, rtol=1e-4, atol=1e-5)
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[0] > 0
    assert graphs[1] == graphs[2]


class Steady:
    """An observer that lets nothing be compiled again after so many steps; graphs: how many there were after each."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.graphs: list[int] = []

    def step_finished(self, run: Any, step: Any) -> None:
        self.graphs.append(counters["stats"]["unique_graphs"])
        if step.step == self.after:
            torch._dynamo.config.error_on_recompile = True


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_run_compiles_nothing_in_its_later_steps(checkpointing: bool, tmp_path: Path) -> None:
    """Every step has rows, trees and micro-batches of other sizes."""
    steady = Steady(2)
    config = {
        "model": {"kernels": [{"compile": {"backend": "eager"}}]},
        "objective": [{"dpo": {}}],
        "reference": {"cache": False},
        "train": {
            "batch_size": 3,
            "steps": 8,
            "micro_batch_tokens": 60,
            "gradient_checkpointing": checkpointing,
        },
        "output": str(tmp_path / "run"),
    }
    data = [
        {"prompt": "twice " * (1 + a % 5), "chosen": "yes " * (1 + a % 7), "rejected": "no " * (1 + a % 3)} for a in range(24)
    ]
    # Beyond its limit torch would go on uncompiled without a word.
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True, error_on_recompile=False):
        burnish.train(config, tiny_model("llama"), tiny_tokenizer(chat=False), data, observers=[steady])
    assert len(steady.graphs) == 8
    assert steady.graphs[0] > 0
    assert steady.graphs[1] == steady.graphs[-1]


@pytest.mark.slow
def test_inductor_gives_the_same_numbers() -> None:
    plain = tiny_model("qwen3")
    compiled = copy.deepcopy(plain)
    Compile()(compiled)
    objective = [{"sft": {"on": "chosen"}}]
    expected, found = (evaluate(objective, rows(3), one, tiny_tokenizer(chat=False)) for one in (plain, compiled))
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    for name, grad in expected.grads.items():
        torch.testing.assert_close(found.grads[name], grad, rtol=1e-3, atol=1e-4)


def test_a_model_without_blocks_is_refused() -> None:
    with pytest.raises(ModelError, match="finds no blocks in Linear"):
        Compile()(nn.Linear(2, 2))

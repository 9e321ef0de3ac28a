"""Compiled blocks: the same numbers, names and trees, compiled once."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from burnish_compile.kernel import Compile
from torch import nn
from torch._dynamo.utils import counters
from transformers import AttentionInterface

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

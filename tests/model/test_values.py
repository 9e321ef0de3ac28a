"""The value head: a number per token from the trunk that the vocabulary is read from; trained, checkpointed, not exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import burnish
from burnish.engine.saved import open_saved
from burnish.errors import ModelError
from burnish.model.scorer import base_of
from burnish.model.values import VALUE_HEAD, add_value_head, value_head_of
from burnish.registry import load
from burnish.testing import evaluate, tiny_model, tiny_tokenizer

ROWS = [{"prompt": "one and ", "completion": answer} for answer in ("two", "twelve", "so on")]
LOSS = """
from dataclasses import dataclass

from burnish.model.signals import logp, value
from burnish.objective import Sequences, Terms


@dataclass(frozen=True, kw_only=True)
class Regress:
    goal: float = 2.0

    def signals(self):
        return frozenset({value(), logp()})

    def __call__(self, batch: Sequences) -> Terms:
        return Terms(token=(batch.signal(value()) - self.goal) ** 2 - 0.0 * batch.logp)
"""


@pytest.fixture
def loss(tmp_path: Path) -> str:
    """A loss that regresses values on a goal."""
    (tmp_path / "regress.py").write_text(LOSS)
    return f"{tmp_path / 'regress.py'}:Regress"


def test_values_start_from_zero_and_are_the_head_of_the_hidden_states(loss: str) -> None:
    model, tokenizer = tiny_model("gpt2", torch.float64, tie_word_embeddings=False), tiny_tokenizer(chat=False)
    add_value_head(model)
    assert evaluate([{loss: {}}], ROWS, model, tokenizer).loss == 4.0
    torch.nn.init.normal_(value_head_of(model).weight)
    # By hand: the states that the vocabulary head is given, at the token before each target.
    total, count = 0.0, 0
    for row in ROWS:
        prompt, ids = len(row["prompt"]), [*tokenizer(row["prompt"] + row["completion"]).input_ids, tokenizer.eos_token_id]
        states = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, prompt - 1 : -1]
        total += ((value_head_of(model)(states)[:, 0] - 2.0) ** 2).sum().item()
        count += len(ids) - prompt
    for layout in ("tree", "packed", "padded"):
        found = evaluate([{loss: {}}], ROWS, model, tokenizer, layout=layout, micro_batches=2)
        assert found.loss == pytest.approx(total / count, rel=1e-12)
        assert found.grads[f"{VALUE_HEAD}.weight"].norm() > 0
        assert found.grads["transformer.h.0.mlp.c_fc.weight"].norm() > 0  # the trunk learns too


def test_a_model_without_one_says_how_to_get_it(loss: str) -> None:
    with pytest.raises(ModelError, match="add_value_head"):
        evaluate([{loss: {}}], ROWS, tiny_model(), tiny_tokenizer(chat=False))


def test_a_second_head_is_not_put_on() -> None:
    model = tiny_model()
    add_value_head(model)
    head = value_head_of(model)
    add_value_head(model)
    assert value_head_of(model) is head


@pytest.mark.parametrize("adapter", [None, {"lora": {"r": 2}}], ids=["full", "lora"])
def test_a_run_trains_it_keeps_it_and_exports_without_it(tmp_path: Path, loss: str, adapter: Any) -> None:
    tiny_model().save_pretrained(tmp_path / "model")
    tiny_tokenizer(chat=False).save_pretrained(tmp_path / "model")
    config = {
        "model": {"name": str(tmp_path / "model"), **({"adapter": adapter} if adapter else {})},
        "data": {"main": {"source": "given", "holdout": 0.25}},
        "objective": [{loss: {}}],
        "train": {"batch_size": 2, "steps": 10},
        "optimizer": {"lr": 0.05},
        "evaluate": {"at_start": True},
        "checkpoint": {"every": 10},
        "output": str(tmp_path / "run"),
    }
    result = burnish.train(config, data=[{"prompt": f"{n} and ", "completion": f"{n + 1}"} for n in range(12)])
    assert result.before["eval/loss"] == pytest.approx(4.0)
    assert result.evaluation["eval/loss"] < 2.0
    [exported] = (tmp_path / "run/model").glob("*.safetensors")
    with safe_open(exported, "pt") as file:
        assert not [name for name in file.keys() if VALUE_HEAD in name]  # noqa: SIM118
    saved = open_saved(str(tmp_path / "run/checkpoints/step-000010"), load())
    assert value_head_of(base_of(saved.model)).weight.abs().sum() > 0

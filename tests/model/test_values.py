"""The value head: a number per token from the trunk that the vocabulary is read from; trained, checkpointed, not exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import burnish
from burnish.batch.layout import Kind as Layout
from burnish.engine.saved import open_saved
from burnish.errors import ModelError
from burnish.model.adapters import add_lora
from burnish.model.roles import frozen_policy
from burnish.model.scorer import base_of
from burnish.model.values import VALUE_HEAD, add_value_head, critic_like, critic_of, value_head_of
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
    with safe_open(tmp_path / "run/checkpoints/step-000010/weights.safetensors", "pt") as file:
        [weight] = [name for name in file.keys() if name.endswith(f"{VALUE_HEAD}.weight")]  # noqa: SIM118
        assert file.get_tensor(weight).abs().sum() > 0
    saved = open_saved(str(tmp_path / "run/checkpoints/step-000010"), load())
    assert not hasattr(base_of(saved.model), VALUE_HEAD)  # what answers needs none


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_critic_has_layers_of_its_own(loss: str, family: str) -> None:
    """It begins as the policy: the same values as a head on its layers, whose gradient goes to the critic alone."""
    tokenizer, grads, losses = tiny_tokenizer(chat=False), [], []
    for apart in (False, True):
        model = tiny_model(family, torch.float64)
        add_value_head(model, critic_like(model) if apart else None)
        torch.nn.init.normal_(value_head_of(model).weight, generator=torch.Generator().manual_seed(0))
        found = evaluate([{loss: {}}], ROWS, model, tokenizer, micro_batches=2)
        losses.append(found.loss)
        grads.append({name: grad for name, grad in found.grads.items() if grad.abs().sum() > 1e-12})
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    shared, own = grads
    assert own
    assert all(name.startswith(VALUE_HEAD) for name in own)
    layers = {name for name in shared if VALUE_HEAD not in name}
    for name in layers:
        torch.testing.assert_close(shared[name], own[f"{VALUE_HEAD}.{name}"], rtol=1e-9, atol=1e-12)
    assert all(name.split(".", 1)[1] in layers or "head" in name.split(".", 1)[1] for name in own)


@pytest.mark.parametrize("layout", ["tree", "packed", "padded"])
def test_a_reward_model_is_a_critic_with_its_head(loss: str, layout: Layout) -> None:
    """One that gives one number begins with it; of others the head is made anew."""
    tokenizer = tiny_tokenizer(chat=False)
    model, judge = tiny_model("llama", torch.float64), tiny_model("llama_classifier", torch.float64)
    head = judge.score
    if head.out_features != 1:
        judge.score = head = torch.nn.Linear(head.in_features, 1, bias=False, dtype=torch.float64)
    add_value_head(model, judge)
    assert value_head_of(model) is head
    # By hand: what the classifier's head makes of the states at the token before each target.
    total, count = 0.0, 0
    for row in ROWS:
        prompt, ids = len(row["prompt"]), [*tokenizer(row["prompt"] + row["completion"]).input_ids, tokenizer.eos_token_id]
        states = judge(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, prompt - 1 : -1]
        total += ((head(states)[:, 0] - 2.0) ** 2).sum().item()
        count += len(ids) - prompt
    assert evaluate([{loss: {}}], ROWS, model, tokenizer, layout=layout).loss == pytest.approx(total / count, rel=1e-12)
    other = tiny_model("llama_classifier", torch.float64)
    other.score = torch.nn.Linear(head.in_features, 3, dtype=torch.float64)
    add_value_head(again := tiny_model("llama", torch.float64), other)
    assert not value_head_of(again).weight.any()
    assert value_head_of(again).out_features == 1


def test_a_critic_beside_an_adapter_shares_what_is_not_trained() -> None:
    model = add_lora(tiny_model("llama"))
    add_value_head(base_of(model), critic_like(base_of(model)))
    ours, theirs = (dict(base_of(one).named_parameters()) for one in (model, critic_of(base_of(model))))
    for name, parameter in theirs.items():
        same = parameter is ours.get(name)
        assert same is not parameter.requires_grad, name


def test_a_reference_has_no_critic() -> None:
    model = tiny_model("llama")
    add_value_head(model, critic_like(model))
    copied = frozen_policy(model, "tree").scorer
    assert copied is not None
    head, plain = (sum(one.numel() for one in of.parameters()) for of in (value_head_of(model), tiny_model("llama")))
    assert sum(one.numel() for one in copied.parameters()) == head + plain

"""The check at load: trees only where trees are right, padded rows with a reason everywhere else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM

from burnish.batch.attention import NAME, tree_attention
from burnish.errors import ModelError
from burnish.model.adapters import add_lora
from burnish.model.check import check_layout
from burnish.model.tile import LogitScale
from burnish.testing.tiny import tiny_model

SMALL = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.5,
    "pad_token_id": 0,
}


def other_model(family: str, **settings: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **SMALL, **settings))
    return model.eval()


@pytest.mark.parametrize(
    "family", ["llama", "llama_untied", "llama_classifier", "qwen3", "mistral", "gemma2", "gemma3", "qwen3_moe", "gpt2"]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_families_that_pass(family: str, dtype: torch.dtype) -> None:
    report = check_layout(tiny_model(family, dtype=dtype))
    assert (report.kind, report.reason) == ("tree", None)


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("mamba", "MambaForCausalLM does not let its attention be replaced"),
        ("bloom", "BloomForCausalLM does not let its attention be replaced"),
    ],
)
def test_families_that_are_padded(family: str, reason: str) -> None:
    report = check_layout(tiny_model(family), "tree")
    assert report.kind == "padded"
    assert report.reason is not None
    assert reason in report.reason


@pytest.mark.parametrize(
    ("family", "settings", "reason"),
    [("llama4_text", {"head_dim": 4}, "chunked_attention"), ("gpt_oss", {"head_dim": 4}, "attention sinks")],
)
def test_layers_that_are_padded(family: str, settings: dict[str, Any], reason: str) -> None:
    report = check_layout(other_model(family, **settings))
    assert report.kind == "padded"
    assert reason in str(report.reason)


def test_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert check_layout(tiny_model("llama")).kind == "tree"


def test_a_model_that_looks_right_and_is_wrong_is_found_out() -> None:
    def windowless(*arguments: Any, **keywords: Any) -> Any:
        return tree_attention(*arguments, **{**keywords, "sliding_window": None})

    AttentionInterface.register(NAME, windowless)
    try:
        report = check_layout(tiny_model("mistral"))
    finally:
        AttentionInterface.register(NAME, tree_attention)
    assert report.kind == "padded"
    assert "log-probabilities differ from those of padded rows" in str(report.reason)


def test_dropout_packs() -> None:
    model = add_lora(tiny_model("llama"), dropout=0.1)
    assert check_layout(model, "packed").reason is None
    for wanted in ("auto", "tree"):
        report = check_layout(model, wanted)
        assert report.kind == "packed"
        assert "drops out with probability 0.1" in str(report.reason)


def test_dropout_in_attention_pads() -> None:
    report = check_layout(tiny_model("llama", attention_dropout=0.1))
    assert report.kind == "padded"
    assert "drops out attention weights" in str(report.reason)


def test_what_is_asked_for_is_given() -> None:
    assert check_layout(tiny_model("llama"), "packed").kind == "packed"
    assert check_layout(tiny_model("llama"), "padded").kind == "padded"


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("cohere", {"logit_scale": 0.3}),
        ("granite", {"logits_scaling": 4.0}),
        ("hyperclovax", {"logits_scaling": 4.0}),
        ("gemma2", {"head_dim": 4, "final_logit_softcapping": 2.0}),
    ],
)
def test_logits_are_scaled_as_the_model_does(family: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model = other_model(family, **settings)
    assert check_layout(model).kind == "tree"
    monkeypatch.setattr(LogitScale, "of", classmethod(lambda cls, config: cls()))
    with pytest.raises(ModelError, match="does something to its logits"):
        check_layout(model)


def test_the_check_leaves_the_mode_and_the_gradients_alone() -> None:
    model = tiny_model("llama").train()
    check_layout(model)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())

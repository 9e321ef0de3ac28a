"""The decoder's own steps give what a model's own code gives, and stand back wherever that is not so."""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaAttention

from burnish.config.sections import SamplingSection
from burnish.model.adapters import add_lora
from burnish.model.lean import make_lean
from burnish.rollout.decoder import Decoder
from burnish.rollout.sampler import Completion, HFSampler
from burnish.testing.tiny import FAMILIES, tiny_model, tiny_tokenizer

PROMPTS = [[1, 2, 3], [1, 2, 3], [4, 5, 6, 7, 8, 9]]
TOKENIZER = tiny_tokenizer()


@pytest.fixture(autouse=True)
def _to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """No completion ends by itself."""
    monkeypatch.setattr(HFSampler, "_ends", set())


def model_of(family: str, **overrides: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FAMILIES, family, FAMILIES.get(family, (family, {})))
        return tiny_model(family, torch.float64, initializer_range=0.2, **overrides)


def drawn(sampler: HFSampler, seed: int = 0, tokens: int = 14) -> list[Completion]:
    return sampler.generate(PROMPTS, SamplingSection(temperature=1.0, max_new_tokens=tokens), seed)


def by_own_code(model: nn.Module, **given: int) -> list[Completion]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Decoder, "of", lambda model, known: None)
        return drawn(HFSampler(model, TOKENIZER), **given)


def counted(sampler: HFSampler, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The widths, old columns and new, at which the model's own code is asked for one more token."""
    widths, own = list[int](), sampler._forward

    def forward(ids: Tensor, mask: Tensor, cache: Any) -> tuple[Tensor, Any]:
        if ids.shape[1] == 1:
            widths.append(mask.shape[1])
        return own(ids, mask, cache)

    monkeypatch.setattr(sampler, "_forward", forward)
    return widths


def assert_same(found: Sequence[Completion], expected: Sequence[Completion]) -> None:
    assert [one.ids for one in found] == [one.ids for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.logps == pytest.approx(other.logps, abs=1e-10)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mistral"])
def test_what_is_drawn_is_what_the_models_own_code_draws(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of prompts of unlike lengths; biases, grouped heads and norms of queries and keys, as the families have them."""
    model = model_of(family, **({"sliding_window": None} if family == "mistral" else {}))
    sampler = HFSampler(model, TOKENIZER)
    widths = counted(sampler, monkeypatch)
    assert_same(drawn(sampler), by_own_code(model))
    # Prompts of six: compared at the first token after them, then where the newest token is at position 8 and 16.
    assert widths == [7, 9, 17]
    widths.clear()
    assert_same(drawn(sampler, seed=1), by_own_code(model, seed=1))
    assert widths == []
    drawn(sampler, tokens=28)
    assert widths == [33]


def test_numbers_do_not_depend_on_when_the_two_were_compared() -> None:
    sampler = HFSampler(tiny_model("llama", torch.float32, initializer_range=0.2), TOKENIZER)
    assert drawn(sampler) == drawn(sampler)  # compared at the first token, and not


@pytest.mark.parametrize("family", ["gemma2", "gemma3", "olmo2", "gpt2"])
def test_other_layers_are_not_recognised(family: str) -> None:
    assert Decoder.of(model_of(family), None) is None


def test_logits_that_are_multiplied_are_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks the same from outside, and is found by its numbers."""
    model = model_of("llama")

    class Scaled(type(model)):  # type: ignore[misc]
        @wraps(type(model).forward)
        def forward(self, *given: Any, **named: Any) -> Any:
            output = super().forward(*given, **named)
            output.logits = output.logits * 1.01
            return output

    model.__class__ = Scaled
    sampler = HFSampler(model, TOKENIZER)
    widths = counted(sampler, monkeypatch)
    assert drawn(sampler) == by_own_code(model)
    assert widths == [7, *range(7, 20)]  # once for nothing, then always


def test_attention_that_changes_with_the_position_is_found_where_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Later(LlamaAttention):
        def forward(self, hidden_states: Tensor, *given: Any, **named: Any) -> Any:
            before = named["past_key_values"].get_seq_length(self.layer_idx)
            output, weights = super().forward(hidden_states, *given, **named)
            return output * (2 if before + hidden_states.shape[1] > 16 else 1), weights

    model = model_of("llama")
    for layer in model.model.layers:
        layer.self_attn.__class__ = Later
    sampler = HFSampler(model, TOKENIZER)
    widths = counted(sampler, monkeypatch)
    assert_same(drawn(sampler), by_own_code(model))
    assert widths == [7, 9, 17, 17, 18, 19]


@pytest.mark.parametrize("where", ["model", "model.layers.1", "model.layers.0.self_attn", "model.layers.1.input_layernorm"])
def test_whoever_hooks_into_a_module_is_called(where: str) -> None:
    model, called = model_of("llama"), list[int]()
    sampler = HFSampler(model, TOKENIZER)
    drawn(sampler)
    hook = model.get_submodule(where).register_forward_hook(lambda *given: called.append(1))
    drawn(sampler)
    assert len(called) == 14  # the prompts, then thirteen tokens
    hook.remove()
    drawn(sampler)
    assert len(called) == 14


def test_a_module_with_a_forward_of_its_own_runs_it() -> None:
    model, called = model_of("llama"), list[int]()
    mlp = model.model.layers[0].mlp

    def own(states: Tensor) -> Tensor:
        called.append(1)
        return type(mlp).forward(mlp, states)  # type: ignore[no-any-return]

    mlp.forward = own
    drawn(HFSampler(model, TOKENIZER))
    assert len(called) == 14


def test_something_more_in_an_attention_is_not_recognised() -> None:
    model = model_of("llama")
    assert Decoder.of(model, None) is not None
    model.model.layers[1].self_attn.sinks = nn.Parameter(torch.zeros(4))
    assert Decoder.of(model, None) is None
    model = model_of("llama")
    model.model.layers[1].self_attn.use_rope = False
    assert Decoder.of(model, None) is None


def test_windows_keep_their_own_code() -> None:
    model = model_of("mistral", sliding_window=4)
    assert_same(drawn(HFSampler(model, TOKENIZER)), by_own_code(model))
    model = model_of("qwen2", sliding_window=4, use_sliding_window=True, max_window_layers=0)
    assert Decoder.of(model, None) is None


def test_half_precision_and_autocast_keep_their_own_code() -> None:
    assert Decoder.of(tiny_model("llama", torch.bfloat16), None) is None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Decoder.of(tiny_model("llama"), None) is None


def test_lean_modules_are_recognised_and_a_module_put_in_their_place_is_seen() -> None:
    model = model_of("llama")
    make_lean(model)
    known = Decoder.of(model, None)
    assert known is not None
    assert Decoder.of(model, known) is known
    model.model.layers[0].self_attn.q_proj = nn.Linear(32, 32, bias=False, dtype=torch.float64)
    assert Decoder.of(model, known) is not known


def test_an_adapter_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("llama")
    sampler = HFSampler(model, TOKENIZER)
    plain = drawn(sampler)
    adapted = add_lora(model, r=4, targets=["q_proj", "down_proj"])
    torch.manual_seed(0)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight, std=0.5)
    sampler = HFSampler(adapted, TOKENIZER)
    widths = counted(sampler, monkeypatch)
    found = drawn(sampler)
    assert widths == [7, 9, 17]
    assert_same(found, by_own_code(adapted))
    assert [one.ids for one in found] != [one.ids for one in plain]


@pytest.mark.skipif(not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="torch was built without oneDNN")
def test_layers_that_take_the_same_states_are_one_product(monkeypatch: pytest.MonkeyPatch) -> None:
    model, widths, real = tiny_model("llama"), list[int](), torch.ops.mkldnn._linear_pointwise
    sampler = HFSampler(model, TOKENIZER)
    expected = by_own_code(model)
    drawn(sampler)

    def product(*given: Any) -> Tensor:
        found: Tensor = real(*given)
        widths.append(found.shape[-1])
        return found

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", product)
    found = drawn(sampler)
    token = [32, 16, 64, 16] * 2 + [model.config.vocab_size]  # queries, keys and values; output; gate and up; down
    assert widths[-len(token) * 13 :] == token * 13
    assert [one.ids for one in found] == [one.ids for one in expected]

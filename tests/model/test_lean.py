"""Lean modules: the same numbers for half of what is kept; what is not theirs is left alone."""

from __future__ import annotations

import copy
from collections import Counter
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from burnish.batch.layout import Kind, lay_out
from burnish.data.units import Sequence
from burnish.engine.rehearsal import Alive
from burnish.model.adapters import add_lora
from burnish.model.checkpointing import checkpoint_layers
from burnish.model.lean import ACTIVATIONS, STYLES, _Gated, _Norm, _normed, make_lean
from burnish.model.recipes import ATTRIBUTE, by_recipe
from burnish.model.scorer import Scorer
from burnish.model.signals import logp
from burnish.model.sites import sites_for
from burnish.testing.tiny import tiny_model

SIZES: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "head_dim": 8, "initializer_range": 0.2}


def score(model: nn.Module, kind: Kind = "tree") -> Tensor:
    draw = np.random.default_rng(0)
    trunk = draw.integers(0, 250, 12)
    sequences = [Sequence(np.concatenate([trunk, draw.integers(0, 250, length)]), {}) for length in (3, 9, 8)]
    layout = lay_out(sequences, kind)
    sites = sites_for(layout, [np.arange(len(one)) > 4 for one in sequences])
    with by_recipe():
        values: Tensor = Scorer(model, kind)(layout, sites, (logp(),))[0]
    return values


def gradients(model: nn.Module, kind: Kind = "tree") -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    values = score(model, kind)
    torch.autograd.backward(values.sum())
    return values.detach(), {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


def changed(model: nn.Module) -> dict[str, int]:
    return dict(Counter(type(module).__name__ for module in make_lean(model)))


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("llama", {"LlamaRMSNorm": 5, "LlamaMLP": 2}),
        ("qwen3", {"Qwen3RMSNorm": 9, "Qwen3MLP": 2}),  # queries and keys have norms too
        ("gemma3", {"Gemma3RMSNorm": 13, "Gemma3MLP": 2}),
        ("qwen3_moe", {"Qwen3MoeRMSNorm": 9}),  # experts are no gated layers of this kind
        ("gpt2", {}),
    ],
)
def test_what_is_recognised(family: str, expected: dict[str, int]) -> None:
    model = tiny_model(family)
    assert changed(model) == expected
    assert make_lean(model) == []
    assert changed(tiny_model(family).to("meta")) == expected


@pytest.mark.parametrize("kind", ["tree", "padded"])
@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3"])
def test_the_same_values_bit_for_bit_and_the_same_gradients(family: str, kind: Kind) -> None:
    own = tiny_model(family, **SIZES).train()
    lean = copy.deepcopy(own)
    make_lean(lean)
    (values, expected), (found_values, found) = gradients(own, kind), gradients(lean, kind)
    assert torch.equal(values, found_values)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-5 * float(gradient.abs().max()))


def test_bfloat16_is_as_close_to_float64_as_before() -> None:
    exact = gradients(tiny_model("llama", **SIZES, dtype=torch.float64).train())[1]
    own = tiny_model("llama", **SIZES, dtype=torch.bfloat16).train()
    lean = copy.deepcopy(own)
    make_lean(lean)

    def error(model: nn.Module) -> float:
        found = gradients(model)[1]
        errors = [float((found[name].double() - one).norm() / one.norm()) for name, one in exact.items()]
        return float(np.linalg.norm(errors))

    assert error(lean) <= 1.05 * error(own)


def test_a_layer_keeps_what_it_must() -> None:
    # Per token: two inputs of norms, queries, attention's output (H each); keys, values (K each); gate, up (I each); one number
    # for each norm, and for each of 4 heads the normaliser of its attention. As it was, besides: for each norm what was normed
    # and what came out (4 H), the activation and the product (2 I).
    hidden, inner, heads, keys = 32, 48, 4, 16
    kept = 4 * hidden + 2 * keys + 2 * inner + 2 + heads
    sizes = {**SIZES, "num_attention_heads": heads, "num_key_value_heads": 2}

    def alive(layers: int, lean: bool) -> int:
        model = tiny_model("llama", num_hidden_layers=layers, **sizes).train()
        changed = make_lean(model) if lean else []
        assert len(changed) == (3 * layers + 1 if lean else 0)
        with Alive([*model.parameters(), *model.buffers()], torch.device("cpu")) as bytes_alive:
            values = score(model)
            now: int = bytes_alive.now
            del values
        return now

    num_tokens = 12 + 3 + 9 + 8
    assert alive(3, True) - alive(2, True) == 4 * num_tokens * kept
    assert alive(3, False) - alive(2, False) == 4 * num_tokens * (kept + 4 * hidden + 2 * inner)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(STYLES), st.lists(st.integers(1, 7), min_size=1, max_size=3), st.integers(1, 40), st.integers(0, 99))
def test_a_norm_of_any_shape_has_the_gradient_of_its_formula(style: Any, rows: list[int], width: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    x, weight, grad = (torch.randn(*shape, generator=draw) for shape in ((*rows, width), (width,), (*rows, width)))
    one, other = ((x.clone().requires_grad_(), weight.clone().requires_grad_()) for _ in range(2))
    output, _ = _Norm.apply(*one, 1e-2, style)  # type: ignore[no-untyped-call]
    torch.autograd.backward(output, grad)
    precise = [tensor.detach().double().requires_grad_() for tensor in other]
    factor = precise[1] + (1 if style is STYLES[2] else 0)
    formula = precise[0] * (precise[0].pow(2).mean(-1, keepdim=True) + 1e-2).rsqrt() * factor
    torch.autograd.backward(formula, grad.double())
    torch.testing.assert_close(output.double(), formula, rtol=1e-5, atol=1e-5)
    for mine, exact in zip(one, precise, strict=True):
        assert mine.grad is not None
        torch.testing.assert_close(mine.grad.double(), exact.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_gated_product_has_the_gradient_of_its_formula(activation: Any) -> None:
    gate, up = (torch.randn(3, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda *both: _Gated.apply(*both, activation), (gate, up))  # type: ignore[no-untyped-call]


def test_only_gradients_that_are_asked_for_are_made() -> None:
    x, weight = torch.randn(3, 4), torch.randn(4, requires_grad=True)
    output, _ = _Norm.apply(x, weight, 1e-6, STYLES[0])  # type: ignore[no-untyped-call]
    torch.autograd.backward(output.sum())
    # dw = sum over rows of x / root mean square
    torch.testing.assert_close(weight.grad, (x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()).sum(0))
    frozen, x = weight.detach(), x.requires_grad_()
    torch.autograd.backward(_Norm.apply(x, frozen, 1e-6, STYLES[0])[0].sum())  # type: ignore[no-untyped-call]
    assert x.grad is not None


class Centred(nn.Module):
    """Looks like a norm by the root of the mean square, and takes the mean away."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(6)), 1e-6

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


class Gateless(nn.Module):
    """Holds what a gated layer holds, and uses it in another way."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = (nn.Linear(4, 4) for _ in range(3))
        self.act_fn = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.gate_proj(x) * self.act_fn(self.up_proj(x)))  # type: ignore[no-any-return]


def test_impostors_are_left_alone() -> None:
    assert make_lean(nn.ModuleList([Centred(), Gateless(nn.SiLU()), nn.RMSNorm(4, 1e-6), nn.LayerNorm(4)])) == []


def test_other_activations_and_what_has_a_forward_of_its_own_are_left_alone() -> None:
    assert changed(tiny_model("llama", hidden_act="relu")) == {"LlamaRMSNorm": 5}
    model = tiny_model("llama")
    for module in model.modules():
        if type(module).__name__ == "LlamaRMSNorm":
            module.forward = partial(type(module).forward, module)
    assert changed(model) == {"LlamaMLP": 2}


@pytest.mark.parametrize("path", ["layers.0.input_layernorm", "layers.0.mlp", "layers.0.mlp.down_proj", "layers.0.mlp.act_fn"])
def test_hooks_are_called(path: str) -> None:
    model = tiny_model("llama").train()
    make_lean(model)
    called: list[str] = []
    module = model.get_submodule(f"model.{path}")
    module.register_forward_hook(lambda *_: called.append("forward"))
    module.register_full_backward_hook(lambda *_: called.append("backward"))
    gradients(model)
    assert called == ["forward", "backward"]


def test_an_adapter_on_every_layer() -> None:
    torch.manual_seed(0)
    own = add_lora(tiny_model("llama", **SIZES), r=4).train()
    for name, parameter in own.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    lean = copy.deepcopy(own)
    assert len(make_lean(lean)) == 7
    (values, expected), (found_values, found) = gradients(own), gradients(lean)
    assert torch.equal(values, found_values)
    assert any("down_proj.lora_A" in name for name in found)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("how", [True, "selective"])
def test_checkpointed_layers(how: Any) -> None:
    model = tiny_model("llama", **SIZES).train()
    make_lean(model)
    _, expected = gradients(model)
    checkpoint_layers(model, how)
    for name, gradient in gradients(model)[1].items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-6, atol=1e-6)


def test_without_gradients_the_own_code_runs() -> None:
    model = tiny_model("llama")
    make_lean(model)
    norm, x = model.get_submodule("model.norm"), torch.randn(2, 16)
    assert hasattr(norm(x), ATTRIBUTE)
    with torch.no_grad():
        assert not hasattr(norm(x), ATTRIBUTE)
    assert not hasattr(norm(hidden_states=x), ATTRIBUTE)


def test_a_copy_has_weights_of_its_own() -> None:
    model = tiny_model("llama")
    make_lean(model)
    other = copy.deepcopy(model)
    x = torch.randn(2, 16)
    with torch.no_grad():
        other.get_submodule("model.norm").weight.mul_(2)
    one, two = (each.get_submodule("model.norm")(x) for each in (model, other))
    torch.testing.assert_close(two, 2 * one)


def test_a_recipe_is_the_forward_bit_for_bit() -> None:
    x, weight = torch.randn(4, 19), torch.randn(19)
    for style in STYLES:
        output, scale = _Norm.apply(x, weight, 1e-6, style)  # type: ignore[no-untyped-call]
        assert torch.equal(output, _normed(x, scale, weight, style))
    run, _ = ACTIVATIONS[0]
    assert torch.equal(run(x).mul_(x), F.silu(x) * x)

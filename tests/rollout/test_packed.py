"""Packed weights give the numbers of plain layers, follow what changes them, and leave no trace."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from burnish.config.sections import SamplingSection
from burnish.model.check import check_layout
from burnish.rollout.packed import PackedLinears
from burnish.rollout.sampler import HFSampler
from burnish.testing import tiny_model, tiny_tokenizer

IDS = torch.tensor([[1, 2, 3], [4, 5, 6]])
pytestmark = pytest.mark.skipif(not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="torch was built without oneDNN")


def layers(model: nn.Module) -> list[nn.Linear]:
    return [module for module in model.modules() if type(module) is nn.Linear]


@torch.no_grad()
def test_the_numbers_are_those_of_plain_layers() -> None:
    model = tiny_model().float()
    plain, packed = model(IDS).logits, PackedLinears(model)
    with packed.used():
        assert all("forward" in layer.__dict__ for layer in layers(model))
        torch.testing.assert_close(model(IDS).logits, plain, rtol=0, atol=2e-5)
    assert not any("forward" in layer.__dict__ for layer in layers(model))
    assert torch.equal(model(IDS).logits, plain)


@torch.no_grad()
def test_a_bias_counts() -> None:
    layer = nn.Linear(6, 5)
    states = torch.randn(2, 3, 6)
    plain, packed = layer(states), PackedLinears(layer)
    with packed.used():
        torch.testing.assert_close(layer(states), plain)


@torch.no_grad()
def test_weights_that_changed_in_place_are_packed_again() -> None:
    layer = nn.Linear(4, 3, bias=False)
    states, packed = torch.randn(2, 4), PackedLinears(layer)
    with packed.used():
        before = layer(states)
    layer.weight.mul_(2)
    with packed.used():
        torch.testing.assert_close(layer(states), 2 * before)


def test_layers_that_are_not_plain_stay_as_they_are() -> None:
    double, compiled, own = nn.Linear(4, 3).double(), nn.Sequential(nn.Linear(4, 3)), nn.Linear(4, 3)
    compiled.compile(backend="eager")
    own.__dict__["forward"] = lambda states: states
    for model in (double, compiled, own):
        with PackedLinears(model).used():
            assert not any("forward" in layer.__dict__ for layer in layers(model) if layer is not own)
    assert own(IDS) is IDS


@torch.no_grad()
def test_autocast_keeps_its_own_precision() -> None:
    layer = nn.Linear(4, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16), PackedLinears(layer).used():
        assert layer(torch.randn(2, 4)).dtype == torch.bfloat16


def test_what_raises_within_leaves_plain_layers() -> None:
    model = tiny_model()
    with pytest.raises(RuntimeError, match="stop"), PackedLinears(model).used():
        raise RuntimeError("stop")
    assert not any("forward" in layer.__dict__ for layer in layers(model))
    assert check_layout(model).kind == "tree"


@torch.no_grad()
def test_two_that_draw_from_one_model_at_once_share_weights_and_leave_plain_layers() -> None:
    layer, states = nn.Linear(40, 30), torch.randn(2, 40)
    one, other = PackedLinears(layer), PackedLinears(layer)
    first, second = one.used(), other.used()
    first.__enter__()
    second.__enter__()
    packed = layer(states)
    first.__exit__(None, None, None)
    assert "forward" in layer.__dict__
    assert torch.equal(layer(states), packed)
    other_weight = nn.Parameter(2 * layer.weight)
    while other_weight._version < layer.weight._version:  # as often changed as the one before
        other_weight.mul_(1)
    layer.weight = other_weight
    layer.bias.zero_()
    torch.testing.assert_close(layer(states), nn.functional.linear(states, layer.weight))
    second.__exit__(None, None, None)
    assert "forward" not in layer.__dict__


def test_threads_that_draw_from_one_model_get_what_one_gets() -> None:
    model, tokenizer = tiny_model().float().eval(), tiny_tokenizer()
    sampler, sampling = HFSampler(model, tokenizer), SamplingSection(temperature=1.0, max_new_tokens=5)
    alone = [sampler.generate([[1, 2, 3]], sampling, [seed])[0] for seed in range(8)]
    for _ in range(3):
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda seed: sampler.generate([[1, 2, 3]], sampling, [seed])[0], range(8)))
        assert found == alone


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = nn.Linear(6, 10), nn.Linear(6, 7), nn.Linear(10, 6)

    def forward(self, states: torch.Tensor, others: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.gate_proj(states), self.up_proj(others)


@torch.no_grad()
def test_layers_that_take_the_same_states_are_one_product(monkeypatch: pytest.MonkeyPatch) -> None:
    module, states, counted = Gated(), torch.randn(3, 6), list[tuple[int, ...]]()
    plain, packed, real = module(states, states), PackedLinears(module), torch.ops.mkldnn._linear_pointwise

    def product(*args: object) -> torch.Tensor:
        found: torch.Tensor = real(*args)
        counted.append(tuple(found.shape))
        return found

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", product)
    with packed.used():
        found = module(states, states)
    assert counted == [(3, 17)]
    assert all(one.is_contiguous() for one in found)
    torch.testing.assert_close(found, plain)
    module.up_proj.bias.add_(1)
    module.gate_proj.weight.mul_(2)
    with packed.used():
        torch.testing.assert_close(module(states, states), (2 * plain[0] - module.gate_proj.bias, plain[1] + 1))


def test_within_inference_mode_too() -> None:
    module = Gated()
    with torch.inference_mode():
        states = torch.randn(3, 6)
        plain = module(states, states)
        with PackedLinears(module).used():
            torch.testing.assert_close(module(states, states), plain)


@torch.no_grad()
@pytest.mark.parametrize("change", ["another", "in place"])
def test_layers_of_one_product_may_be_given_different_states(change: str) -> None:
    module, states = Gated(), torch.randn(3, 6)
    others = torch.randn(3, 6) if change == "another" else states
    with PackedLinears(module).used():
        gate = module.gate_proj(states)
        if change == "in place":
            others.mul_(2)
        up = module.up_proj(others)
    torch.testing.assert_close(up, module.up_proj(others))
    torch.testing.assert_close(gate, module.gate_proj(states if change == "another" else states / 2))


def test_layers_with_and_without_a_bias_have_a_product_each() -> None:
    module = Gated()
    module.up_proj = nn.Linear(6, 7, bias=False)
    states = torch.randn(3, 6)
    with torch.no_grad(), PackedLinears(module).used():
        found = module(states, states)
    torch.testing.assert_close(found, module(states, states))

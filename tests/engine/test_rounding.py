"""bfloat16 weights that follow float32 ones, by hand; and the same after a checkpoint."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from burnish.engine.optim import build_optimizer, load_optimizer_state, optimizer_state
from burnish.engine.rounding import stochastically
from burnish.engine.state import load_tree, save_tree
from burnish.errors import ConfigError

BF16 = torch.bfloat16


def section(rounding: str, name: str = "sgd", lr: float = 1e-3, offload: bool = False) -> Any:
    return SimpleNamespace(name=name, lr=lr, weight_decay=0.0, options={}, rounding=rounding, offload=offload)


def descend(weight: Tensor, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        weight.grad = torch.ones_like(weight)
        optimizer.step()


def assert_continues(start: Tensor, given: Any, folder: Path) -> None:
    """Three steps, a checkpoint, three steps: bit for bit those of six, and somewhere else than the start."""
    weights = [nn.Parameter(start.clone()) for _ in range(2)]
    first, second = (build_optimizer(given, [("weight", weight)]) for weight in weights)
    descend(weights[0], first, 3)
    save_tree(optimizer_state(first, {weights[0]: "weight"}), folder / "optimizer")
    weights[1].data.copy_(weights[0].data)
    load_optimizer_state(second, {weights[1]: "weight"}, load_tree(folder / "optimizer"))
    for weight, optimizer in zip(weights, (first, second), strict=True):
        descend(weight, optimizer, 3)
    assert torch.equal(*weights)
    assert not torch.equal(weights[0], start)


@pytest.mark.parametrize(
    ("rounding", "low", "high"), [("nearest", 1, 1), ("kahan", 0.8999, 0.9001), ("stochastic", 0.899, 0.901)]
)
def test_small_updates_of_bfloat16_weights(rounding: str, low: float, high: float) -> None:
    # 100 steps of 0.001 down from 1. Below 1 bfloat16 numbers lie 1/256 apart, so a step rounds back to 1: plain updates stall.
    # Kahan's rest is right to 1/256 of 1/256 a weight: within 1e-4 of 0.9, read with the rest. Rounded by chance, a weight's
    # variance is at most 100 (1/256)^2 / 4, so the mean of 4096 of them is within 0.0196 / 64 = 0.0003 (one sigma) of 0.9.
    weight = nn.Parameter(torch.ones(64, 64, dtype=BF16))
    optimizer = build_optimizer(section(rounding), [("weight", weight)])
    descend(weight, optimizer, 100)
    rest = optimizer.state[weight].get("burnish_rest", torch.zeros(()))
    mean = (weight.double() + rest.double()).mean().item()
    assert low <= mean <= high
    assert weight.dtype == BF16
    if rounding != "nearest":
        assert (weight.double() - 0.9).abs().mean() < 0.05


def test_kahan_follows_float32_under_adamw() -> None:
    draw = torch.Generator().manual_seed(0)
    start, target = (torch.randn(32, 32, generator=draw).to(BF16) for _ in range(2))
    weights = {}
    for rounding, dtype in (("nearest", torch.float32), ("nearest", BF16), ("kahan", BF16)):
        weight = nn.Parameter(start.to(dtype, copy=True))
        optimizer = build_optimizer(section(rounding, "adamw", lr=2e-4), [("weight", weight)])
        for _ in range(200):
            weight.grad = (weight.detach() - target.to(dtype)).to(dtype)
            optimizer.step()
        rest = optimizer.state[weight].get("burnish_rest", 0)
        weights[rounding, dtype] = weight.detach().double() + rest
    exact, plain, kept = weights.values()
    moved = (exact - start.double()).abs().mean()
    assert (kept - exact).abs().mean() < 0.02 * moved
    assert (plain - exact).abs().mean() > 0.2 * moved


@pytest.mark.parametrize("rounding", ["kahan", "stochastic"])
def test_saved_state_continues_bit_for_bit(tmp_path: Path, rounding: str) -> None:
    assert_continues(torch.linspace(-1, 1, 16, dtype=BF16).reshape(4, 4), section(rounding, "adamw"), tmp_path)


def test_rounding_by_chance_is_right_on_average() -> None:
    # A quarter of the way from 1 to the next number, 1 + 1/128: a quarter of them goes up.
    wide = torch.full((10000,), 1 + 1 / 512)
    rounded = stochastically(wide, seed=1)
    assert set(rounded.tolist()) == {1.0, 1 + 1 / 128}
    assert (rounded > 1).double().mean().item() == pytest.approx(0.25, abs=0.02)
    assert torch.equal(rounded, stochastically(wide, seed=1))
    odd = torch.tensor([float("inf"), float("-inf"), 0.0, -2.0])
    assert stochastically(odd, seed=1).tolist() == odd.tolist()
    assert stochastically(torch.tensor([float("nan")]), seed=1).isnan().all()


@pytest.mark.parametrize(
    ("given", "dtype", "message"),
    [
        (section("kahan"), torch.float32, "is for bfloat16 weights, and those that are trained are float32"),
        (section("stochastic", "adamw_8bit"), BF16, "adamw_8bit"),
        (section("nearest", offload=True), torch.float32, "without a GPU"),
    ],
)
def test_refusals(given: Any, dtype: torch.dtype, message: str) -> None:
    if given.offload and torch.cuda.is_available():
        pytest.skip("there is a GPU to offload from")
    with pytest.raises(ConfigError, match=message):
        build_optimizer(given, [("weight", nn.Parameter(torch.ones(2, 2, dtype=dtype)))])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_offloaded_state_gives_the_same_weights_and_lies_on_the_host() -> None:
    weights = [nn.Parameter(torch.ones(256, 256, device="cuda")) for _ in range(2)]
    sections = [section("nearest", "adamw", offload=far) for far in (False, True)]
    optimizers = [build_optimizer(one, [("weight", weight)]) for one, weight in zip(sections, weights, strict=True)]
    for weight, optimizer in zip(weights, optimizers, strict=True):
        descend(weight, optimizer, 3)
    assert torch.equal(*weights)
    assert optimizers[1].state[weights[1]]["exp_avg"].device.type == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["adamw_8bit", "paged_adamw_8bit"])
def test_8_bit_states_come_back_bit_for_bit(tmp_path: Path, name: str) -> None:
    assert_continues(torch.linspace(-1, 1, 128 * 128, device="cuda").reshape(128, 128), section("nearest", name), tmp_path)

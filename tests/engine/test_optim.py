"""Optimisers by name; their state comes back exactly."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from burnish.engine.optim import build_optimizer, load_optimizer_state, optimizer_state
from burnish.engine.state import load_tree, save_tree
from burnish.errors import ConfigError, ModelError


def section(name: str, lr: float = 0.1, weight_decay: float = 0.0, **options: Any) -> Any:
    plain = {"rounding": "nearest", "offload": False}
    return SimpleNamespace(name=name, lr=lr, weight_decay=weight_decay, options=options, **plain)


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    model(torch.ones(1, 3)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_decay_spares_vectors() -> None:
    optimizer = build_optimizer(section("adamw", weight_decay=0.5), small().named_parameters())
    decayed, spared = optimizer.param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.5, 0.0)
    assert all(parameter.ndim == 2 for parameter in decayed["params"])
    assert all(parameter.ndim == 1 for parameter in spared["params"])
    assert decayed["fused"]


@pytest.mark.parametrize("name", ["adamw", "sgd", "adafactor", "rmsprop", "nadam", "adamw_torch", "Adagrad"])
def test_saved_state_continues_bit_for_bit(tmp_path: Path, name: str) -> None:
    options = {"momentum": 0.9} if name == "sgd" else {}
    first = small()
    optimizer = build_optimizer(section(name, **options), first.named_parameters())
    step(first, optimizer)
    save_tree(optimizer_state(optimizer, {p: n for n, p in first.named_parameters()}), tmp_path / "optimizer")
    second = small()
    second.load_state_dict(first.state_dict())
    other = build_optimizer(section(name, **options), second.named_parameters())
    load_optimizer_state(other, {p: n for n, p in second.named_parameters()}, load_tree(tmp_path / "optimizer"))
    for _ in range(2):
        step(first, optimizer)
        step(second, other)
    for expected, got in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(expected, got)


def test_hyper_parameters_come_from_the_config() -> None:
    model = small()
    names = {p: n for n, p in model.named_parameters()}
    before = build_optimizer(section("adamw", weight_decay=0.5, betas=(0.5, 0.6)), model.named_parameters())
    saved = optimizer_state(before, names)
    optimizer = build_optimizer(section("adamw", weight_decay=0.1), model.named_parameters())
    load_optimizer_state(optimizer, names, saved)
    assert optimizer.param_groups[0]["weight_decay"] == 0.1
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sdg", {}, "Did you mean 'sgd'"),
        ("adamw", {"knob": 1}, "optimizer 'adamw' with options"),
        ("schedule_free_adamw", {}, "another training loop"),
        ("lomo", {}, "another training loop"),
        ("muon", {}, "muon"),  # torch's Muon takes matrices only, and says so
    ],
)
def test_refusals(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_optimizer(section(name, **options), small().named_parameters())


def test_nothing_to_train() -> None:
    with pytest.raises(ModelError, match="nothing to train"):
        build_optimizer(section("adamw"), small().requires_grad_(False).named_parameters())

"""Two fake plugins with losses, a weight, rewards, a source and a recipe; none needs torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from burnish.registry import Registry, load

PLUGIN = """
from burnish import LossRecord, RecipeRecord, RewardRecord, SourceRecord, WeightRecord, hookimpl

def loss(name, data, target):
    return LossRecord(name=name, target="fake_kit.parts:" + target, summary="s", data=data, reduction="token_mean", api=1)

@hookimpl
def burnish_losses():
    return [
        loss("pairs", "preference", "Pairs"),
        loss("marks", "unpaired", "Plain"),
        loss("gold", "triple", "Plain"),
        loss("nll", "sequence", "Plain"),
    ]

@hookimpl
def burnish_weights():
    return [WeightRecord(name="half", target="fake_kit.parts:Half", summary="s", api=1)]

@hookimpl
def burnish_rewards():
    return [
        RewardRecord(name="exact", target="fake_kit.parts:exact", summary="s", api=1),
        RewardRecord(name="length", target="fake_kit.parts:Length", summary="s", api=1),
    ]

@hookimpl
def burnish_sources():
    return [SourceRecord(name="numbers", target="fake_kit.parts:Numbers", summary="s", api=1)]

@hookimpl
def burnish_recipes():
    return [
        RecipeRecord(name="both", target="fake_kit.parts:both", summary="s", api=1),
        RecipeRecord(name="odd", target="fake_kit.parts:odd", summary="s", api=1),
        RecipeRecord(name="nested", target="fake_kit.parts:nested", summary="s", api=1),
    ]
"""
PARTS = '''
from dataclasses import dataclass, field
from typing import Literal

@dataclass(frozen=True)
class Inner:
    kind: Literal["a", "b"] = "a"

@dataclass(frozen=True, kw_only=True)
class Pairs:
    """A loss on pairs."""
    beta: float = 0.1
    """How far to pull;
    above 0."""
    form: Literal["sigmoid", "hinge"] = "sigmoid"
    inner: Inner = Inner()
    bins: tuple[int, ...] = (1, 2)
    def __post_init__(self):
        if self.beta <= 0:
            raise ValueError("beta must be above 0")

@dataclass(frozen=True)
class Plain:
    pass

@dataclass(frozen=True)
class Half:
    share: float = 0.5

@dataclass(frozen=True)
class Length:
    target: int
    def __call__(self, prompts, completions, completion_ids): return []

@dataclass(frozen=True)
class Numbers:
    size: int
    arguments: dict[str, int] = field(default_factory=dict)

def exact(prompts, completions, completion_ids, strip=True): return []

def both(beta: float = 0.1, share: float = 1.0):
    return {
        "objective": [{"pairs": {"beta": beta}}, {"nll": {"on": "chosen", "weight": share}}],
        "optimizer": {"lr": 5e-7, "weight_decay": 0.01},
    }

def odd():
    raise RuntimeError("broken inside")

def nested():
    return {"recipe": "both"}
'''


@pytest.fixture
def kit(install: Callable[..., Path]) -> Registry:
    """A registry with the plugin `kit` alone."""
    install("kit", PLUGIN, {"parts": PARTS}, version="0.3")
    return load()


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write run.yaml in the working directory, and give its relative path."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> Path:
        Path("run.yaml").write_text(text)
        return Path("run.yaml")

    return write

"""Kernels of a config: put on every model of a run, found by name or as code, refused in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import burnish
from burnish.errors import BurnishError, ModelError
from burnish.model.kernels import apply_kernels
from burnish.registry import load
from burnish.testing import tiny_model, tiny_tokenizer

SEEN: list[tuple[int, Any]] = []


@dataclass(frozen=True, kw_only=True)
class Marking:
    """A kernel that remembers what it was put on."""

    times: int = 1

    def __call__(self, model: nn.Module) -> None:
        SEEN.append((self.times, model))


@dataclass(frozen=True, kw_only=True)
class Failing:
    """A kernel with a mistake."""

    def __call__(self, model: nn.Module) -> None:
        raise RuntimeError("no such layer")


def test_a_run_puts_them_on_the_policy_and_on_its_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SEEN.clear()
    (tmp_path / "marking.py").write_text("from tests_of_kernels import Marking\n")
    monkeypatch.setitem(__import__("sys").modules, "tests_of_kernels", __import__("sys").modules[__name__])
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"twice {a} is", "chosen": f" {2 * a}", "rejected": " many"} for a in range(4)]
    config = {
        "model": {"kernels": [{"./marking.py:Marking": {"times": 3}}]},
        "objective": ["dpo"],
        "reference": {"cache": False},
        "train": {"batch_size": 4, "steps": 1},
        "output": str(tmp_path / "run"),
    }
    model = tiny_model()
    burnish.train(config, model, tiny_tokenizer(chat=False), rows)
    assert [times for times, _ in SEEN] == [3, 3]
    assert SEEN[0][1] is model
    assert SEEN[1][1] is not model


def test_a_kernel_that_fails_is_named() -> None:
    registry = load(run_code=True)
    with pytest.raises(ModelError, match=r"the kernel '.*Failing' failed on LlamaForCausalLM: .*no such layer"):
        apply_kernels(tiny_model(), [{f"{__name__}:Failing": {}}], registry)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(BurnishError, match="no kernel named 'ligre'"):
        apply_kernels(tiny_model(), [{"ligre": {}}], load())

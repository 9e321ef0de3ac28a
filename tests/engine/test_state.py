"""State survives JSON and safetensors exactly, and nothing else is accepted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from burnish.engine.randomness import random_state, set_random_state
from burnish.engine.state import load_tree, save_tree
from burnish.errors import RunError


def test_tree_comes_back_exactly(tmp_path: Path) -> None:
    shared = torch.arange(6.0).view(2, 3)
    tree: dict[str, Any] = {
        "a/b": [1, 0.1, None, True, "x", (2**40, float("inf"))],
        "view": shared[:, 1],
        "same memory": shared,
        "bf16": torch.tensor(1.0, dtype=torch.bfloat16),
        "empty": {},
        "array": np.array([1, 2**32 - 1], dtype=np.uint32),
    }
    save_tree(tree, tmp_path / "state")
    back = load_tree(tmp_path / "state")
    assert back["a/b"] == tree["a/b"]
    assert isinstance(back["a/b"][5], tuple)
    for name in ("view", "same memory", "bf16"):
        assert torch.equal(back[name], tree[name])
        assert back[name].dtype == tree[name].dtype
    assert back["empty"] == {}
    assert back["array"].dtype == np.uint32
    assert (back["array"] == tree["array"]).all()


@pytest.mark.parametrize("value", [object(), {1: "x"}])
def test_what_is_not_plain_is_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(RunError, match="state at '/deep'"):
        save_tree({"deep": value}, tmp_path / "state")


def test_random_generators_continue_where_they_were(tmp_path: Path) -> None:
    import random

    def draw() -> list[float]:
        return [random.random(), float(np.random.rand()), float(np.random.randn()), float(torch.rand(()))]

    draw()  # leaves numpy holding half a pair of normal numbers, which its state must carry
    save_tree(random_state(), tmp_path / "rng")
    expected = draw()
    draw()
    set_random_state(load_tree(tmp_path / "rng"))
    assert draw() == expected

"""The token budget: by hand, and within its bounds."""

from __future__ import annotations

import pytest
import torch

import burnish.engine.budget as module
from burnish.engine.budget import CEILING, FLOOR, activation_bytes, choose_budget
from burnish.testing.tiny import tiny_model


def test_activation_bytes_by_hand() -> None:
    # hidden 16, feed-forward 32, 2 layers: a layer keeps (12 * 16 + 4 * 32) * 4 = 1280 bytes a token.
    config = tiny_model().config
    assert activation_bytes(config, 4, checkpointing=False) == 2 * 1280
    assert activation_bytes(config, 4, checkpointing=True) == 1280 + 2 * 16 * 4


@pytest.mark.parametrize(("spare", "expected"), [(0, FLOOR), (2560 * 1000, 400), (10**12, CEILING["cpu"])])
def test_budget_fits_between_its_bounds(spare: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # 12 bytes a weight go to its gradient and moments; of spare 2_560_000 bytes, 0.4 at 2560 bytes a token is 400 tokens.
    model = tiny_model()
    state = 12 * sum(parameter.numel() for parameter in model.parameters())
    monkeypatch.setattr(module, "free_bytes", lambda device: spare + state)
    assert choose_budget(model, model.config, "float32", False, torch.device("cpu")) == expected

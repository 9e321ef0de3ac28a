"""The token budget: by hand, and within its bounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from burnish.config import load_config
from burnish.data.units import Sequence, Unit
from burnish.engine import budget as module
from burnish.engine.budget import CEILINGS, FLOOR, SHARE, activation_bytes, ceiling_for, choose_budget, fitting
from burnish.engine.rehearsal import NotRehearsed, training_bytes
from burnish.model.signals import logp
from burnish.testing.tiny import tiny_model

CPU = torch.device("cpu")
CONFIG = load_config({"model": {"name": "m"}, "data": {"main": {"source": "d"}}, "objective": ["sft"]})


def test_activation_bytes_by_hand() -> None:
    # hidden 16, feed-forward 32, 2 layers: a layer keeps (12 * 16 + 4 * 32) * 4 = 1280 bytes a token.
    config = tiny_model().config
    assert activation_bytes(config, 4, checkpointing=False) == 2 * 1280
    assert activation_bytes(config, 4, checkpointing=True) == 1280 + 2 * 16 * 4


@pytest.mark.parametrize(("room", "expected"), [(0, FLOOR), (50_000, 450), (10**9, 2048)])
def test_a_line_through_two_costs(room: int, expected: int) -> None:
    # 5000 bytes and 100 a token: 45 000 bytes are left for tokens.
    assert fitting(lambda num_tokens: 5000 + 100 * num_tokens, room, 2048) == expected


def test_the_largest_that_fits_is_found_by_rehearsing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, room = tiny_model(), 4_000_000
    found = choose_budget(model, (logp(),), "tree", CONFIG, room, CPU)
    assert FLOOR < found < CEILINGS["cpu"][0]

    monkeypatch.setattr(module, "fitting", lambda cost, *_: cost(found))  # what the budget that was found costs
    assert 0.9 * SHARE * room <= choose_budget(model, (logp(),), "tree", CONFIG, room, CPU) <= 1.05 * SHARE * room


def test_a_model_that_cannot_be_rehearsed_is_estimated() -> None:
    model = tiny_model("qwen3_moe")  # its experts' products have no float32 form without numbers
    with pytest.raises(NotRehearsed):
        training_bytes(model, [], (logp(),), "tree", CONFIG.train, CPU)
    assert FLOOR < choose_budget(model, (logp(),), "tree", CONFIG, 3_000_000, CPU) < CEILINGS["cpu"][0]


def test_where_all_fits_clearly_nothing_is_rehearsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "training_bytes", lambda *_: pytest.fail("rehearsed"))
    assert choose_budget(tiny_model(), (logp(),), "tree", CONFIG, 10**12, CPU) == CEILINGS["cpu"][0]


def group(prompt: int, answer: int, size: int) -> list[Unit]:
    """Answers to one prompt that differ from their first token on."""
    own = np.arange(prompt + answer) >= max(prompt, 1)
    ids = [np.concatenate([np.arange(prompt), 1000 * (member + 1) + np.arange(answer)]) for member in range(size)]
    return [Unit("trajectory", (Sequence(one, {"completion": own}),)) for one in ids]


@pytest.mark.parametrize(
    ("prompt", "answer", "size", "expected"),
    [
        (45, 24, 8, 1024),  # 237 tokens in all
        (500, 90, 16, 2048),  # 500 + 16 * 90 = 1940 at once; 1024 have room for 5 answers, so 4 * 500 + 1440
        (1500, 90, 16, 4096),  # 2940 at once; 2048 have room for 6 answers, so 3 * 1500 + 1440
        (0, 900, 16, 1024),  # nothing is shared
    ],
)
def test_a_long_prompt_is_worth_a_larger_micro_batch(prompt: int, answer: int, size: int, expected: int) -> None:
    batch = group(prompt, answer, size)
    assert ceiling_for(batch, "tree", CPU) == expected
    assert ceiling_for(batch, "packed", CPU) == CEILINGS["cpu"][0]
    assert ceiling_for(batch, "tree", torch.device("cuda")) == CEILINGS["cuda"][0]
    assert choose_budget(tiny_model(), (logp(),), "tree", CONFIG, 10**12, CPU, batch) == expected


def test_a_container_has_less_than_the_machine(tmp_path: Path) -> None:
    # 1000 allowed, 700 used, of which 200 are pages of files that are given back when asked for.
    for name, text in {"memory.max": "1000\n", "memory.current": "700\n", "memory.stat": "anon 500\nfile 200\n"}.items():
        (tmp_path / name).write_text(text)
    assert module._container_bytes(tmp_path) == 500
    (tmp_path / "memory.max").write_text("max\n")
    assert module._container_bytes(tmp_path) == module._container_bytes(tmp_path / "none") == float("inf")

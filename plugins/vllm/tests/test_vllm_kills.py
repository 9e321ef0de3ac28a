"""The run is killed and its server lives on, with whatever weights it then has, even half of an update: every prompt once, and
from the journal the same weights, bit for bit."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from conftest import Start
from halfway import HALFWAY, ON_THE_WIRE, killable

from burnish.testing import EVENTS, assert_survives

MODES = pytest.mark.parametrize("ahead", [0, 2], ids=["before training", "beside training"])


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("ahead", "transfer", "event", "kills"),
    [(0, "file", HALFWAY, [6, 1]), (2, "gloo", ON_THE_WIRE, [60, 20])],
    ids=["before training", "beside training, on the wire"],
)
def test_killed_in_the_middle_of_an_update(
    start: Start, vllm_model: Path, tmp_path: Path, ahead: int, transfer: str, event: str, kills: list[int]
) -> None:
    """Of one in the handshake, and of a later one: the server waits for weights that never come. What was on its way there is
    gone at the end."""
    config = killable(vllm_model, start().url, tmp_path, ahead)
    config["rollout"]["backend"]["vllm"]["transfer"] = transfer
    assert_survives(config, kills, events=[event])
    assert not list((tmp_path / "weights").iterdir())


@pytest.mark.slow
@MODES
@pytest.mark.parametrize("seed", range(10))
def test_killed_anywhere(start: Start, vllm_model: Path, tmp_path: Path, ahead: int, seed: int) -> None:
    chance = random.Random(seed)
    made = killable(vllm_model, start().url, tmp_path, ahead, oversample=seed % 2, receipts={"handshake": seed % 3 == 0})
    assert_survives(made, [chance.randrange(26, 44), chance.randrange(2, 12)], events=[*EVENTS, HALFWAY])

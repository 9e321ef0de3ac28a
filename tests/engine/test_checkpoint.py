"""A checkpoint holds all of it, survives what befalls it, and older ones make room."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import nn

import burnish.engine.checkpoint as module
from burnish.engine.checkpoint import Checkpoints, Trained, load_checkpoint, load_origin, load_weights, save_checkpoint
from burnish.engine.randomness import random_state
from burnish.errors import RunError


@pytest.fixture
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


def trained(seed: int = 0) -> Trained:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[1].requires_grad_(False)
    return Trained(model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1))


def step(run: Trained) -> None:
    run.model(torch.rand(2, 3)).square().sum().backward()
    run.optimizer.step()
    run.optimizer.zero_grad()


def save(checkpoints: Checkpoints, number: int, run: Trained, accelerator: Accelerator) -> None:
    save_checkpoint(checkpoints.path(number), run, {"step": number}, {"config": {"x": 1}}, accelerator)


def test_goes_on_bit_for_bit(tmp_path: Path, accelerator: Accelerator) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    first = trained()
    step(first)
    save(checkpoints, 1, first, accelerator)
    step(first)
    second = trained()
    assert load_checkpoint(checkpoints.choose(), second, rank=0) == {"step": 1}
    step(second)  # draws the same random input only if the generator was put back
    for expected, got in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(expected, got)
    assert load_origin(checkpoints.choose()) == {"config": {"x": 1}}


def test_nothing_in_it_is_pickled(tmp_path: Path, accelerator: Accelerator) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    save(checkpoints, 1, trained(), accelerator)
    assert {path.suffix for path in checkpoints.path(1).iterdir()} == {".json", ".safetensors"}


def test_newest_and_best_are_kept(tmp_path: Path, accelerator: Accelerator) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    for number in range(1, 6):
        save(checkpoints, number, trained(), accelerator)
        checkpoints.prune(best=2 if number >= 2 else None)
    assert checkpoints.steps() == [2, 4, 5]


def test_damaged_one_is_refused_and_the_one_before_only_on_request(tmp_path: Path, accelerator: Accelerator) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    save(checkpoints, 1, trained(), accelerator)
    save(checkpoints, 2, trained(), accelerator)
    weights = checkpoints.path(2) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
    with pytest.raises(RunError, match=r"step-000002/weights.safetensors is damaged.*--step 1"):
        checkpoints.choose()
    assert checkpoints.choose(1) == checkpoints.path(1)
    with pytest.raises(RunError, match=r"step 3; it has the steps \[1, 2\]"):
        checkpoints.choose(3)


def test_full_disk_leaves_the_previous_one_valid(
    tmp_path: Path, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    save(checkpoints, 1, trained(), accelerator)

    def run_out(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "save_tree", run_out)
    with pytest.raises(RunError, match="No space left on device"):
        save(checkpoints, 2, trained(), accelerator)
    assert checkpoints.choose() == checkpoints.path(1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]


def test_sweep_clears_leftovers_and_the_abandoned_future(tmp_path: Path, accelerator: Accelerator) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    for number in (1, 2):
        save(checkpoints, number, trained(), accelerator)
    (tmp_path / "step-000003.partial").mkdir()
    (tmp_path / "step-000000.removed").mkdir()
    checkpoints.sweep(1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]


@pytest.mark.parametrize("more", [False, True])
def test_other_parameters_are_refused(tmp_path: Path, accelerator: Accelerator, more: bool) -> None:
    """Whether the model trains more than the checkpoint holds or less."""
    checkpoints, whole = Checkpoints(tmp_path, keep=2), trained()
    whole.model.requires_grad_(True)
    held, other = (trained(), whole) if more else (whole, trained())
    save(checkpoints, 1, held, accelerator)
    with pytest.raises(RunError, match=r"train different parameters, for example 1\.bias"):
        load_checkpoint(checkpoints.path(1), other, rank=0)


def test_half_a_checkpoint_is_none(tmp_path: Path, accelerator: Accelerator) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    save(checkpoints, 1, trained(), accelerator)
    (tmp_path / "step-000003.partial").mkdir()
    assert checkpoints.steps() == [1]
    assert checkpoints.choose() == checkpoints.path(1)


def test_each_rank_has_its_own_random_state(tmp_path: Path, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saved with two ranks; a third, which was not there, goes on from where it is."""
    checkpoints, states, drawn = Checkpoints(tmp_path, keep=2), [], []
    for seed in (3, 4):
        torch.manual_seed(seed)
        states.append(random_state())
        drawn.append(torch.rand(2))
    monkeypatch.setattr(module, "gather_object", lambda mine: states)
    save(checkpoints, 1, trained(), accelerator)
    for rank in (0, 1, 2):
        torch.manual_seed(5)
        load_checkpoint(checkpoints.path(1), trained(5), rank)
        after = torch.rand(2)
        assert [torch.equal(after, one) for one in drawn] == [rank == 0, rank == 1]


def test_a_weight_that_lies_otherwise_in_memory(tmp_path: Path, accelerator: Accelerator) -> None:
    checkpoints, run, other = Checkpoints(tmp_path, keep=2), trained(), trained(1)
    run.parameters["0.weight"].data = torch.rand(3, 4).T
    save(checkpoints, 1, run, accelerator)
    load_weights(checkpoints.path(1), other.parameters)
    assert torch.equal(other.parameters["0.weight"], run.parameters["0.weight"])

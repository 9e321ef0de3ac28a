"""An error in the middle of a run saves the steps before it, and mending it ends with the weights of a run without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from runs import LORA, MakeConfig, assert_same, ledger, weights

from burnish.api import train
from burnish.engine.optim import build_optimizer
from burnish.engine.step import StepRunner
from burnish.errors import RunError


class Fails:
    """Once, before or after the work of the third step."""

    def __init__(self, function: Any, error: Exception, after: bool) -> None:
        self.function, self.error, self.after, self.calls = function, error, after, 0

    def __call__(self, *given: Any, **named: Any) -> Any:
        self.calls += 1
        result = self.function(*given, **named) if self.after or self.calls != 3 else None
        if self.calls == 3:
            raise self.error
        return result


@pytest.mark.parametrize("after", [False, True])
def test_it_goes_on_to_the_same_weights(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    # With dropout, a step that was begun has drawn random numbers that the one done anew must draw again.
    adapter = {"lora": {**LORA["lora"], "dropout": 0.2}}
    train(make_config(model={"adapter": adapter}, output=str(tmp_path / "whole")))
    config = make_config(model={"adapter": adapter})
    with monkeypatch.context() as patch:
        fails = Fails(StepRunner.run, KeyError("plugin"), after)
        patch.setattr(StepRunner, "run", lambda *given, **named: fails(*given, **named))
        with pytest.raises(KeyError, match="plugin"):
            train(config)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000002"]
    assert not (tmp_path / "run" / "model").exists()
    train(config, resume=True)
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "run"))
    assert ledger(tmp_path / "whole") == ledger(tmp_path / "run")


def test_weights_ahead_of_their_step_are_not_saved(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*given: Any) -> torch.optim.Optimizer:
        optimizer = build_optimizer(*given)
        optimizer.step = Fails(optimizer.step, MemoryError(), after=True)  # type: ignore[method-assign]
        return optimizer

    monkeypatch.setattr("burnish.engine.setup.build_optimizer", build)
    with pytest.raises(MemoryError):
        train(make_config())
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_out_of_memory_says_what_to_lower(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    fails = Fails(StepRunner.run, error, after=False)
    monkeypatch.setattr(StepRunner, "run", lambda *given, **named: fails(*given, **named))
    with pytest.raises(RunError, match=r"step 3: CUDA out of memory. Lower train.micro_batch_tokens \(it was 64\)"):
        train(make_config(train={"micro_batch_tokens": 64}))

"""What is said and refused about processes, without starting any."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.utils import DistributedType

import burnish
from burnish.config.sections import TrainSection
from burnish.engine import distributed, setup
from burnish.engine.distributed import check_saving, launch_warning, on_first
from burnish.errors import ConfigError, RunError
from burnish.testing import tiny_model, tiny_tokenizer


def test_one_process_where_several_were_asked_for_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launch_warning() is None
    # What `accelerate launch --cpu --num_processes 2` sets in the one process that it starts.
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert "--multi_gpu --num_processes N" in (launch_warning() or "")


@pytest.mark.parametrize("has_units", [True, False])
@pytest.mark.skipif(torch.accelerator.is_available(), reason="is about machines without a GPU")
def test_bfloat16_on_a_processor_without_units_for_it_is_said(
    has_units: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    units = SimpleNamespace(mkldnn=SimpleNamespace(_is_mkldnn_bf16_supported=lambda: has_units))
    monkeypatch.setattr(distributed, "torch", SimpleNamespace(ops=units, accelerator=torch.accelerator))
    said = [distributed.precision_warning(TrainSection(precision=precision)) for precision in ("float32", "bf16", "pure_bf16")]
    assert [one is not None for one in said] == [False, not has_units, not has_units]
    monkeypatch.undo()
    monkeypatch.setattr(setup, "precision_warning", lambda section: f"slow in {section.precision}")
    config = {"objective": ["sft"], "train": {"batch_size": 1, "steps": 1}, "output": str(tmp_path / "run")}
    burnish.train(config, tiny_model(), tiny_tokenizer(chat=False), [{"prompt": "a", "completion": "b"}])
    assert "slow in float32" in capfd.readouterr().err


def test_checkpoints_under_deepspeed_are_refused() -> None:
    accelerator: Any = SimpleNamespace(distributed_type=DistributedType.DEEPSPEED)
    off: Any = SimpleNamespace(every=None, best=False)
    every: Any = SimpleNamespace(every=10, best=False)
    check_saving(off, accelerator)
    with pytest.raises(ConfigError, match="DeepSpeed would pickle"):
        check_saving(every, accelerator)


def test_the_first_process_does_it_and_says_what_went_wrong() -> None:
    accelerator: Any = SimpleNamespace(is_main_process=True, num_processes=1)
    assert on_first(accelerator, lambda: 7) == 7

    def fail() -> None:
        raise RunError("no")

    with pytest.raises(RunError, match="no"):
        on_first(accelerator, fail)

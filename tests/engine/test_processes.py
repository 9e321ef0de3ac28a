"""What is said and refused about processes, without starting any."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from accelerate.utils import DistributedType

from burnish.engine.distributed import check_saving, launch_warning, on_first
from burnish.errors import ConfigError, RunError


def test_one_process_where_several_were_asked_for_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launch_warning() is None
    # What `accelerate launch --cpu --num_processes 2` sets in the one process that it starts.
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert "--multi_gpu --num_processes N" in (launch_warning() or "")


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

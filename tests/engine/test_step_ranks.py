"""One rank or two: the same loss, gradients, metrics and states, also where a rank has nothing to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from burnish.model.scorer import Scorer
from burnish.registry.custom import import_custom
from burnish.testing import tiny_model

WORKER = Path(__file__).with_name("ranks_worker.py")


@pytest.mark.multiprocess
def test_ranks_change_nothing(tmp_path: Path) -> None:
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        str(WORKER),
        f"{tmp_path}/rank",
    ]
    done = subprocess.run(launch, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"rank-{rank}.pt", weights_only=False) for rank in range(2))
    alone = import_custom(f"{WORKER}:scenarios")(Scorer(tiny_model("gpt2", torch.float64), "tree"))
    for name in ("", "dppo_kl/"):  # of both divergences from a sampler some tokens are within the threshold, some beyond
        assert 0 < alone[3]["result"]["metrics"][f"{name}mask_ratio/overall_mean"] < 0.5
    for one, other, expected in zip(first, second, alone, strict=True):
        assert one["result"] == other["result"]
        ours, theirs = one["result"], expected["result"]
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-12)
        assert ours["parts"] == pytest.approx(theirs["parts"], rel=1e-12)
        assert ours["metrics"] == pytest.approx(theirs["metrics"], rel=1e-10, abs=1e-12)
        assert ours["state"] == pytest.approx(theirs["state"], rel=1e-12)
        assert ours["num_tokens"] == theirs["num_tokens"]
        for rank in (one, other):
            for gradient, whole in zip(rank["grads"], expected["grads"], strict=True):
                assert torch.allclose(gradient, whole, rtol=1e-9, atol=1e-12)

"""The benchmark's arithmetic by hand, its rows, and (slow) one run of it on a tiny model."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.benchmarks.speed.burnish_side import work
from tests.benchmarks.speed.cases import CASES, num_tokens, transcript
from tests.benchmarks.speed.tables import markdown
from torch import nn

from burnish.data.units import Sequence, Unit
from burnish.testing import tiny_model, tiny_tokenizer

ROOT = Path(__file__).resolve().parents[3]


def result(seconds: list[float], peak: float, rate: float, **further: Any) -> dict[str, Any]:
    steps = [{"seconds": each, "cpu_seconds": 2 * each} for each in seconds]
    return {"steps": steps, "peak_bytes": peak, "state_bytes": 1e9, "matrix_rate": [rate], "load": 0.5, **further}


def test_a_line_by_hand() -> None:
    # 200 tokens a step; burnish needs 2 s and TRL 5 s (1 per device) or 4 s (2). The tree needs 4 passes of 10 GFLOP, which at
    # 100 GFLOP/s are 0.4 s of 2; rows by themselves 4 of 20 GFLOP, 0.8 s of 4.
    counted = {"plain": {"tokens": 200, "operations": 20e9}, "shared": {"tokens": 100, "operations": 10e9}}
    found = {
        "0": [result([9.0, 2.0, 2.0], 2e9, 1e11, work=counted)],
        "1": [result([9.0, 5.0, 5.0], 4e9, 1e11)],
        "2": [result([9.0, 3.0, 5.0], 6e9, 1e11)],
    }
    table = markdown({"DPO": {"passes": 4.0, "results": found}}, "tiny").splitlines()[-3:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert cells[0] == ["DPO", "burnish", "2.00", "2.00-2.00", "4.0", "100", "1.00 GB", "20%", "", "2.00"]
    assert cells[1] == ["", "TRL, 1 per device", "5.00", "5.00-5.00", "10.0", "40", "3.00 GB", "16%", "", ""]
    assert cells[2] == ["", "TRL, 2 per device", "4.00", "3.00-5.00", "8.0", "50", "5.00 GB", "20%", "2.00", ""]


def test_operations_by_hand() -> None:
    # Two sequences of 3 tokens share 2. Tokens 6 or 4; keys seen 2 * (1 + 2 + 3) = 12 or 6 + 3 = 9; each scores its last token.
    def sequence(last: int) -> Sequence:
        return Sequence(np.array([5, 6, last]), {"completion": np.array([False, False, True])})

    model = tiny_model("llama")
    weights = sum(one.numel() for name, one in model.named_parameters() if ".layers." in name and one.ndim == 2)
    found = work([Unit("preference", (sequence(7), sequence(8)))], model)
    head = 2 * 16 * model.config.vocab_size * 2  # hidden 16, two scored tokens
    for name, tokens, keys in (("plain", 6, 12), ("shared", 4, 9)):
        attention = 4 * 2 * 4 * 4 * keys  # 2 layers of 4 heads of width 4
        assert found[name] == {"tokens": tokens, "targets": 2, "operations": 2 * weights * tokens + attention + head}


def test_transcripts() -> None:
    assert transcript("\n\nHuman: a?\n\nAssistant: b") == [
        {"role": "user", "content": "a?"},
        {"role": "assistant", "content": "b"},
    ]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_has_rows(case: Any, shared_data: Path) -> None:
    tokenizer = tiny_tokenizer(chat=True)
    rows = list(islice(case.rows(shared_data, tokenizer), case.batch_size))
    assert len(rows) == case.batch_size
    assert all(num_tokens(row, tokenizer) > 0 for row in rows)


def test_the_head_of_a_classifier_counts_one_output() -> None:
    model = tiny_model("llama_classifier")
    unit = Unit("text", (Sequence(np.array([5, 6]), {"completion": np.array([False, True])}),))
    assert isinstance(model, nn.Module)
    assert work([unit], model)["plain"]["operations"] < work([unit], tiny_model("llama"))["plain"]["operations"]


@pytest.mark.slow
def test_both_frameworks_run_a_tiny_model(shared_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.md"
    command = [sys.executable, "-m", "tests.benchmarks.speed", "--data", str(shared_data), "--write", str(out)]
    small = ["--model", "tiny", "--rows", "2", "--steps", "1", "--trl", "2", "--case", "SFT"]
    subprocess.run([*command, *small], check=True, cwd=ROOT)
    [case] = json.loads(out.with_suffix(".json").read_text()).values()
    ours, theirs = (SimpleNamespace(**case["results"][size][0]) for size in ("0", "2"))
    assert ours.losses == pytest.approx(theirs.losses, rel=1e-3)
    assert "| SFT instruct_alpaca, full, float32 | burnish |" in out.read_text()

"""The benchmark's arithmetic by hand, its rows, and (slow) one run of it on a tiny model."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.benchmarks.speed import burnish_side
from tests.benchmarks.speed.__main__ import is_out_of_memory, sizes
from tests.benchmarks.speed.burnish_side import work
from tests.benchmarks.speed.cases import CASES, Case, num_tokens, transcript
from tests.benchmarks.speed.filling import FILLING, pairs
from tests.benchmarks.speed.shapes import SHAPES, made
from tests.benchmarks.speed.tables import HEAD, markdown
from torch import nn

from burnish.data.units import Sequence, Unit
from burnish.testing import tiny_model, tiny_tokenizer

ROOT = Path(__file__).resolve().parents[3]


def result(seconds: list[float], peak: float, rate: float, **further: Any) -> dict[str, Any]:
    steps = [{"seconds": each, "cpu_seconds": 2 * each} for each in seconds]
    return {"steps": steps, "peak_bytes": peak, "state_bytes": 1e9, "matrix_rate": [rate], "load": 0.5, **further}


def test_a_line_by_hand() -> None:
    # 200 tokens a step; burnish needs 2 s, without sharing 3 s, and TRL 5 s (1 per device) or 4 s (2). The tree needs 4 passes
    # of 10 GFLOP, which at 100 GFLOP/s are 0.4 s of 2; rows by themselves 4 of 20 GFLOP, 0.8 s of 4. Sharing could make a step
    # twice as fast and makes it 1.5 times as fast, which is 75 % of that.
    counted = {"plain": {"tokens": 200, "operations": 20e9}, "shared": {"tokens": 100, "operations": 10e9}}
    found = {
        "0": [result([9.0, 2.0, 2.0], 2e9, 1e11, work=counted)],
        "packed": [result([9.0, 3.0, 3.0], 2e9, 1e11, work=counted)],
        "compile": [result([9.0, 1.0, 1.0], 2e9, 1e11, work=counted)],
        "1": [result([9.0, 5.0, 5.0], 4e9, 1e11)],
        "2": [result([9.0, 3.0, 5.0], 6e9, 1e11, options={"packing": True, "strategy": "bfd", "checkpointing": False})],
        "8": [{"failed": "did not fit"}],
    }
    table = markdown({"DPO": {"passes": 4.0, "results": found}}, "tiny").splitlines()[-7:]
    head, *cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (HEAD[0], *table[1:])]
    assert {len(line) for line in cells} == {len(head)}
    assert cells[0] == ["DPO", "burnish", "2.00", "2.00-2.00", "4.0", "100", "1.00 GB", "20%", "", "2.00", "75%"]
    assert cells[1] == ["", "burnish, compile", "1.00", "1.00-1.00", "2.0", "200", "1.00 GB", "40%", "0.50", "", ""]
    assert cells[2] == ["", "burnish, packed", "3.00", "3.00-3.00", "6.0", "67", "1.00 GB", "27%", "1.50", "", ""]
    assert cells[3] == ["", "TRL, 1 per device", "5.00", "5.00-5.00", "10.0", "40", "3.00 GB", "16%", "", "", ""]
    named = "TRL, 2 per device, packing, strategy bfd, no checkpointing"
    assert cells[4] == ["", named, "4.00", "3.00-5.00", "8.0", "50", "5.00 GB", "20%", "2.00", "", ""]
    assert cells[5] == ["", "TRL, 8 per device", "did not fit", *[""] * 8]


def asked(**given: Any) -> Any:
    return argparse.Namespace(**{"rows": 0, "trl": "1,2,4,8", **given})


def test_rows_per_device_that_are_tried() -> None:
    kto, policy = (next(case for case in CASES if case.kind == kind) for kind in ("kto", "policy"))
    assert sizes(kto, asked()) == ["2", "4", "8"]  # its trainer needs two
    assert sizes(policy, asked(rows=6)) == ["1", "2", "6"]  # its batch is cut into equal parts
    assert sizes(CASES[0], asked(rows=2)) == ["1", "2"]


def test_who_needs_too_much_memory() -> None:
    assert is_out_of_memory(-9, "")
    assert is_out_of_memory(1, "torch.cuda.OutOfMemoryError: CUDA out of memory")
    assert not is_out_of_memory(1, "ValueError: no")


def test_the_shapes_that_fill_a_gpu_by_hand() -> None:
    # Embeddings, of which the head is one: 151936 H. Of each of 28 layers: queries and output 2 x 2048 H, keys and values
    # 2 x 1024 H, 3 H I of the feed-forward part, 2 norms of H and 2 of 128; and the last norm, H.
    for name, hidden, inner, millions in (("qwen3-0.6b", 1024, 3072, 596.05), ("qwen3-1.7b", 2048, 6144, 1720.57)):
        family, numbers = SHAPES[name]
        with torch.device("meta"):
            model = tiny_model(family, **numbers)
        layer = 6 * 1024 * hidden + 3 * hidden * inner + 2 * hidden + 2 * 128
        size = sum(one.numel() for one in model.parameters())
        assert size == 151936 * hidden + 28 * layer + hidden
        assert size / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize("case", FILLING, ids=lambda case: case.name)
def test_what_fills_a_gpu_is_as_long_as_it_says(case: Case) -> None:
    tokenizer = tiny_tokenizer(chat=True)
    rows = list(islice(case.rows(Path(), tokenizer), case.batch_size))
    lengths = [num_tokens(row, tokenizer) for row in rows]
    assert len(rows) == case.batch_size
    assert max(lengths) <= case.max_length
    unique = sum(lengths)
    if case.kind == "policy":
        asked = {tuple(row["prompt_ids"]) for row in rows}
        unique = sum(map(len, asked)) + sum(len(row["completion_ids"]) for row in rows)
    elif case.kind in ("dpo", "reward"):
        unique += sum(len(row["rejected"][0]["content"]) for row in rows)
    assert 40_000 <= unique <= 100_000


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
@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--model", "tiny", "--case", "instruct", "--beside", "packed"], "SFT instruct_alpaca, full, float32"),
        (["--model", "qwen3-tiny", "--case", "16 x 8", "--dtype", "bf16"], "policy gradient 16 x 8, 512 after 256, full, bf16"),
    ],
)
def test_both_frameworks_run_a_tiny_model(words: list[str], name: str, shared_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.md"
    command = [sys.executable, "-m", "tests.benchmarks.speed", "--data", str(shared_data), "--write", str(out)]
    subprocess.run([*command, *words, "--rows", "2", "--steps", "1", "--trl", "2"], check=True, cwd=ROOT)
    case = json.loads(out.with_suffix(".json").read_text())[name]
    ours, theirs = (SimpleNamespace(**case["results"][size][0]) for size in ("0", "2"))
    assert ours.losses == pytest.approx(theirs.losses, rel=1e-3, abs=1e-3)
    assert theirs.options["gradient_checkpointing"] is False
    assert f"| {name} | burnish |" in out.read_text()


def test_burnish_otherwise_is_another_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(burnish_side, "matrix_rate", lambda dtype: 1e11)
    model, case = made("tiny", tmp_path / "tiny"), replace(FILLING[1], rows=pairs(8, 8), batch_size=2)
    rows = list(islice(case.rows(Path(), None), 2))
    found = {who: burnish_side.run(case, rows, model, 1, adapter=False, dtype="float32", variant=who) for who in ("", "packed")}
    assert [found[who]["layout"] for who in found] == ["tree", "packed"]
    assert found[""]["losses"] == pytest.approx(found["packed"]["losses"], rel=1e-4)
    assert [len(one["steps"]) for one in found.values()] == [2, 2]

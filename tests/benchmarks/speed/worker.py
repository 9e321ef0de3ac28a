"""One case, one framework, one process: what `python -m tests.benchmarks.speed` starts."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from tests.benchmarks.speed.cases import CASES, num_tokens
from tests.benchmarks.speed.filling import FILLING


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--longest", type=int, default=0)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--adapter", action="store_true")
    parser.add_argument("--trl", type=int, default=0, help="TRL's rows per device; 0 for burnish")
    parser.add_argument("--variant", default="", help="of burnish: packed, compile, liger")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    from transformers import AutoTokenizer

    [case] = [case for case in (*CASES, *FILLING) if case.name == asked.case]
    case = replace(case, max_length=asked.longest or case.max_length, batch_size=asked.rows or case.batch_size)
    tokenizer = AutoTokenizer.from_pretrained(asked.model)
    # Rows that are too long would be dropped by one framework and cut by the other.
    fitting = (row for row in case.rows(asked.data, tokenizer) if num_tokens(row, tokenizer) <= case.max_length)
    rows = list(islice(fitting, case.batch_size))
    common = (case, rows, asked.model, asked.steps, asked.adapter, asked.dtype)
    result: dict[str, Any]
    if asked.trl:
        from tests.benchmarks.speed import trl_side

        result = trl_side.run(*common, per_device=asked.trl)
    else:
        from tests.benchmarks.speed import burnish_side

        result = burnish_side.run(*common, variant=asked.variant)
    asked.out.write_text(json.dumps({**result, "load": os.getloadavg()[0]}), encoding="utf-8")


if __name__ == "__main__":
    main()

"""How fast a training step is, beside TRL's: same model, rows, precision, batch and optimiser, on the same machine.

    python -m tests.benchmarks.speed --data ../shared/data --model FOLDER --case DPO --write docs/benchmarks/DATE-cpu.md

Both frameworks take turns, each run in a process of its own: burnish, TRL with 1 row per device, TRL with 2, ..., burnish
again, for so many `--rounds`. Every step of a run is the same global batch; the first one warms up and is not counted.
`--model tiny` is for a try of the program itself. What is written: a table, and beside it all numbers as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.speed.cases import CASES, Case
from tests.benchmarks.speed.tables import Runs, markdown

ROOT = Path(__file__).resolve().parents[3]
QUIET = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "CI": "1"}


def tiny(folder: Path) -> Path:
    """A model of two layers with a chat template, saved."""
    from burnish.testing import tiny_model, tiny_tokenizer

    tokenizer = tiny_tokenizer(chat=True)
    tiny_model("llama", max_position_embeddings=4096, pad_token_id=tokenizer.pad_token_id).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def measure(case: Case, per_device: int, asked: argparse.Namespace, model: Path, folder: Path) -> dict[str, Any]:
    """One run in a process of its own; per_device 0 is burnish."""
    out = folder / "result.json"
    given = {name: getattr(asked, name) for name in ("data", "steps", "rows", "dtype")} | {"case": case.name, "model": model}
    command = [sys.executable, "-m", "tests.benchmarks.speed.worker", "--trl", str(per_device), "--out", str(out)]
    command += [word for name, value in given.items() for word in (f"--{name}", str(value))]
    command += ["--adapter"] if asked.adapter else []
    command += ["--longest", "2000"] if asked.model == "tiny" else []  # its tokens are bytes
    environment = {**os.environ, **QUIET, "BURNISH_CACHE": str(folder / "cache" / str(time.time_ns()))}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{case.name}, {'TRL' if per_device else 'burnish'}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    result: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    seconds = [round(step["seconds"], 2) for step in result["steps"]]
    print(f"{case.name}: {f'TRL {per_device}' if per_device else 'burnish'} {seconds} s, losses {result['losses']}", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the shared data sets")
    parser.add_argument("--model", required=True, help="folder of a model, or `tiny`")
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    parser.add_argument("--steps", type=int, default=2, help="steps that count, of each run")
    parser.add_argument("--rounds", type=int, default=1, help="times that all take turns")
    parser.add_argument("--rows", type=int, default=0, help="rows of a global batch; 0 for each case's own number")
    parser.add_argument("--trl", default="1,2", help="TRL's rows per device to try")
    parser.add_argument("--only-burnish", action="store_true")
    parser.add_argument("--adapter", action="store_true", help="LoRA (r 16, all linear layers) instead of all weights")
    parser.add_argument("--dtype", choices=["float32", "bf16"], default="float32", help="bf16: autocast")
    parser.add_argument("--write", type=Path, help="Markdown file; the numbers go beside it as JSON. Cases it has are kept")
    asked = parser.parse_args()
    asked.data = asked.data.resolve()
    sizes = [] if asked.only_burnish else [int(size) for size in asked.trl.split(",")]
    numbers = asked.write.with_suffix(".json") if asked.write else None
    runs: Runs = json.loads(numbers.read_text(encoding="utf-8")) if numbers and numbers.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        model = tiny(Path(folder) / "model") if asked.model == "tiny" else Path(asked.model).resolve()
        for case in (case for case in CASES if asked.case.lower() in case.name.lower()):
            name = f"{case.name}, {'LoRA' if asked.adapter else 'full'}, {asked.dtype}"
            found: dict[str, list[dict[str, Any]]] = {}
            for _ in range(asked.rounds):
                for size in (0, *sorted({max(size, case.smallest) for size in sizes})):
                    found.setdefault(str(size), []).append(measure(case, size, asked, model, Path(folder)))
            runs[name] = {"passes": 4.0 if case.kind in ("dpo", "kto") and not case.warm else 3.0, "results": found}
            if numbers and asked.write:
                asked.write.parent.mkdir(parents=True, exist_ok=True)
                numbers.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
                asked.write.write_text(markdown(runs, asked.model if asked.model == "tiny" else model.name), encoding="utf-8")
    print(markdown(runs, model.name))


if __name__ == "__main__":
    main()

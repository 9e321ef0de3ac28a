"""How fast a training step is, beside TRL's: same model, rows, precision, batch and optimiser, on the same machine.

    python -m tests.benchmarks.speed --data ../shared/data --model FOLDER --case DPO --write docs/benchmarks/DATE-cpu.md

Both frameworks take turns, each run in a process of its own: burnish, TRL with 1 row per device, TRL with 2, ..., burnish
again, for so many `--rounds`. Every step of a run is the same global batch; the first one warms up and is not counted. What is
written: a table, and beside it all numbers as JSON.

`--beside packed,compile` also measures burnish without shared prefixes, and with a kernel. `--model qwen3-0.6b` or `qwen3-1.7b`
draws a model of that shape and measures the cases that fill a GPU:

    python -m tests.benchmarks.speed --model qwen3-1.7b --dtype bf16 --beside packed,compile,liger --write gpu.md

`--model tiny` and `--model qwen3-tiny --rows 2` are for tries of the program itself.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.speed.cases import CASES, Case
from tests.benchmarks.speed.filling import FILLING
from tests.benchmarks.speed.shapes import SHAPES, made
from tests.benchmarks.speed.tables import Runs, framework, markdown

ROOT = Path(__file__).resolve().parents[3]
QUIET = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "CI": "1"}


def measure(case: Case, who: str, asked: argparse.Namespace, model: Path, folder: Path) -> dict[str, Any]:
    """One run in a process of its own. who: TRL's rows per device, "0" for burnish, or how burnish differs.

    Where TRL's rows did not fit into memory, `failed` says so; whatever else goes wrong ends the program.
    """
    out = folder / "result.json"
    given = {name: getattr(asked, name) for name in ("data", "steps", "rows", "dtype")} | {"case": case.name, "model": model}
    given |= {"trl": who} if who.isdigit() else {"variant": who}
    command = [sys.executable, "-m", "tests.benchmarks.speed.worker", "--out", str(out)]
    command += [word for name, value in given.items() for word in (f"--{name}", str(value))]
    command += ["--adapter"] if asked.adapter else []
    command += ["--longest", "4096"] if asked.model == "tiny" else []  # its tokens are bytes, and it has so many positions
    environment = {**os.environ, **QUIET, "BURNISH_CACHE": str(folder / "cache" / str(time.time_ns()))}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    name = f"{case.name}: {framework(who, {})}"
    if done.returncode and who.isdigit() and who != "0" and is_out_of_memory(done.returncode, done.stderr):
        print(f"{name} did not fit into memory", flush=True)
        return {"failed": "did not fit into memory"}
    if done.returncode:
        raise SystemExit(f"{name}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    result: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    seconds = [round(step["seconds"], 2) for step in result["steps"]]
    print(f"{name} {seconds} s, losses {result['losses']}", flush=True)
    return result


def is_out_of_memory(code: int, said: str) -> bool:
    """Whether a process was killed for its memory, or ended by CUDA's."""
    return code == -signal.SIGKILL or "OutOfMemoryError" in said


def sizes(case: Case, asked: argparse.Namespace) -> list[str]:
    """TRL's rows per device: those that were asked for, as the trainer can take them and the batch has them."""
    batch = asked.rows or case.batch_size
    fitting = {min(max(int(size), case.smallest), batch) for size in asked.trl.split(",")}
    return [str(size) for size in sorted(fitting) if case.kind != "policy" or batch % size == 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the shared data sets")
    parser.add_argument("--model", required=True, help=f"folder of a model, or one that is made: {', '.join(SHAPES)}")
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    parser.add_argument("--steps", type=int, default=2, help="steps that count, of each run")
    parser.add_argument("--rounds", type=int, default=1, help="times that all take turns")
    parser.add_argument("--rows", type=int, default=0, help="rows of a global batch; 0 for each case's own number")
    parser.add_argument("--trl", default="1,2,4,8", help="TRL's rows per device to try")
    parser.add_argument("--beside", default="", help="burnish otherwise, too: packed, compile, liger")
    parser.add_argument("--only-burnish", action="store_true")
    parser.add_argument("--adapter", action="store_true", help="LoRA (r 16, all linear layers) instead of all weights")
    parser.add_argument("--dtype", choices=["float32", "bf16"], default="float32", help="bf16: autocast")
    parser.add_argument("--write", type=Path, help="Markdown file; the numbers go beside it as JSON. Cases it has are kept")
    asked = parser.parse_args()
    asked.data = asked.data.resolve()
    otherwise = [word for word in asked.beside.split(",") if word]
    numbers = asked.write.with_suffix(".json") if asked.write else None
    runs: Runs = json.loads(numbers.read_text(encoding="utf-8")) if numbers and numbers.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        is_made = asked.model in SHAPES
        model = made(asked.model, Path(folder) / asked.model) if is_made else Path(asked.model).resolve()
        cases = FILLING if asked.model.startswith("qwen3") and is_made else CASES
        for case in (case for case in cases if asked.case.lower() in case.name.lower()):
            name = f"{case.name}, {'LoRA' if asked.adapter else 'full'}, {asked.dtype}"
            found: dict[str, list[dict[str, Any]]] = {}
            for _ in range(asked.rounds):
                for who in ("0", *otherwise, *([] if asked.only_burnish else sizes(case, asked))):
                    found.setdefault(who, []).append(measure(case, who, asked, model, Path(folder)))
            runs[name] = {"passes": 4.0 if case.kind in ("dpo", "kto") and not case.warm else 3.0, "results": found}
            if numbers and asked.write:
                asked.write.parent.mkdir(parents=True, exist_ok=True)
                numbers.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
                asked.write.write_text(markdown(runs, model.name), encoding="utf-8")
    print(markdown(runs, model.name))


if __name__ == "__main__":
    main()

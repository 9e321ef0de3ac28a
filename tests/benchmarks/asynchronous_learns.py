"""Does training beside generation raise the reward as taking turns does? docs/quickstart/grpo.yaml as it is, and the same with
a vLLM server that draws while the model is trained, at most two versions behind (`max_staleness: 2`). One thread each.

    python tests/benchmarks/asynchronous_learns.py --vllm ~/vllm/bin/python --runs FOLDER --write docs/results/asynchronous.md

`--vllm` is the Python of an environment with vLLM and burnish-vllm. The numbers of a run are kept in `--runs`; a run whose
numbers are there is not run again. The page, its JSON and its picture are made of all that is there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

QUICKSTART = Path(__file__).resolve().parents[2] / "docs" / "quickstart" / "grpo.yaml"
STALENESS, ENDS, READY_S, REWARD = 2, 5, 900.0, "rewards/math/mean"
TURNS, BESIDE = "hf, in turns", f"vLLM, at most {STALENESS} behind"
HEAD = (
    "what draws",
    "steps",
    "reward, first five",
    "last five",
    "held-out before",
    "after",
    "versions behind: mean",
    "largest",
    "sampler and trainer apart, nats",
    "trainer waits",
    "sampler waits",
    "seconds",
)


def address() -> tuple[str, int]:
    """Where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host, port = free.getsockname()
    return host, port


@contextmanager
def serving(python: str, model: Path, dtype: str, log: Path) -> Iterator[str]:
    """A vLLM server with one thread; its address."""
    host, port = address()
    options = ["--host", host, "--port", str(port), "--dtype", dtype, "--max-model-len", "512", "--enforce-eager"]
    settings = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "1"}
    with log.open("wb") as said:
        command = [python, "-m", "burnish_vllm.serve", str(model), *options]
        process = subprocess.Popen(command, env=os.environ | settings, stdout=said, stderr=said, start_new_session=True)
    try:
        wait_for(process, f"http://{host}:{port}", log)
        yield f"http://{host}:{port}"
    finally:
        process.terminate()
        process.wait(60)


def wait_for(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Until the server answers; SystemExit where it does not."""
    end = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):
                return
        except OSError:
            time.sleep(1)
    raise SystemExit(f"vLLM is not ready: {log.read_text(errors='replace')[-3000:]}")


def config(output: Path, steps: int, backend: dict[str, Any] | None) -> dict[str, Any]:
    """The quickstart's, with another backend."""
    found: dict[str, Any] = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    found["output"], found["train"]["steps"] = str(output), steps
    if backend is not None:
        found["rollout"] |= {"backend": {"vllm": backend}, "max_staleness": STALENESS}
    return found


def train(steps: int, backend: dict[str, Any] | None) -> dict[str, Any]:
    """Train, and give what the ledger says."""
    import burnish

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        result = burnish.train(config(Path(folder) / "run", steps, backend))
        seconds = time.perf_counter() - started
        lines = [json.loads(line) for line in (result.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]

    def every(name: str) -> list[float]:
        return [line[name] for line in lines if name in line]

    return {
        "name": TURNS if backend is None else BESIDE,
        "steps": steps,
        "rewards": every(REWARD),
        "before": result.before[f"eval/{REWARD}"],
        "after": result.evaluation[f"eval/{REWARD}"],
        "behind": every("sampling/staleness/mean"),
        "furthest": every("sampling/staleness/max"),
        "apart": every("sampling/sampling_logp_difference/mean"),
        "waits": {who: every(f"sampling/idle_s/{who}") for who in ("trainer", "backend")},
        "between": every("sampling/rollout_s"),
        "seconds": seconds,
    }


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def cells(one: dict[str, Any]) -> Iterator[str]:
    """A row of the table."""
    rewards, between = one["rewards"], sum(one["between"])
    yield from (one["name"], str(one["steps"]))
    yield from (f"{mean(rewards[:ENDS]):.2f}", f"{mean(rewards[-ENDS:]):.2f}", f"{one['before']:.2f}", f"{one['after']:.2f}")
    yield from (f"{mean(one['behind']):.2f}", f"{max(one['furthest'], default=0):.0f}", f"{mean(one['apart']):.4f}")
    for who in ("trainer", "backend"):
        yield f"{100 * sum(one['waits'][who]) / between:.0f} %" if between else ""
    yield f"{one['seconds']:.0f}"


def page(found: list[dict[str, Any]], picture: str) -> str:
    """Markdown."""
    rows = [f"| {' | '.join(cells(one))} |" for one in found]
    by_step = [f"- {one['name']}: {' '.join(f'{reward:.2f}' for reward in one['rewards'])}" for one in found]
    machine = f"{platform.machine()}, {time.strftime('%Y-%m-%d')}"
    table = [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}", *rows]
    curves = ["Rewards, step by step:", "", *by_step, "", f"![Rewards over the run]({picture})", ""]
    return "\n".join([machine, "", *table, "", *curves])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm", required=True, help="Python of an environment with vLLM and burnish-vllm")
    parser.add_argument("--model", type=Path, help="folder of the model for the server; by default the one of burnish-smollm2")
    parser.add_argument("--dtype", default="bfloat16", help="in which the server holds the weights")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--only", choices=["turns", "beside"], help="one of the two runs")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the numbers of each run, and the server's log")
    parser.add_argument("--write", type=Path, help="Markdown file; JSON and PNG go beside it")
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    asked.runs.mkdir(parents=True, exist_ok=True)
    kept = {name: asked.runs / f"{name}.json" for name in ("turns", "beside")}
    for name, file in kept.items():
        if file.exists() or asked.only not in (None, name):
            continue
        if name == "turns":
            result = train(asked.steps, None)
        else:
            with serving(asked.vllm, asked.model or of_package(), asked.dtype, asked.runs / "vllm.log") as url:
                result = train(asked.steps, {"servers": [url], "dtype": asked.dtype})
        file.write_text(json.dumps(result) + "\n", encoding="utf-8")
        print(" | ".join(cells(result)), flush=True)
    found = [json.loads(file.read_text(encoding="utf-8")) for file in kept.values() if file.exists()]
    if asked.write and found:
        from reward_curves import draw  # beside this program

        picture = asked.write.with_suffix(".png")
        draw(picture, {one["name"]: [one["rewards"]] for one in found}, across="steps of 4 prompts x 8 answers")
        asked.write.with_suffix(".json").write_text(json.dumps(found) + "\n", encoding="utf-8")
        asked.write.write_text(page(found, picture.name), encoding="utf-8")
    print(page(found, "") if found else "nothing was run")


def of_package() -> Path:
    """The folder of SmolLM2."""
    from burnish_smollm2.source import SmolLM2

    return SmolLM2().weights()


if __name__ == "__main__":
    main()

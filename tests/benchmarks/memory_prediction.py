"""Does `burnish plan` know how much memory a run will take? Prints what it said and what the run then took, side by side.

    python tests/benchmarks/memory_prediction.py --write docs/results/memory.md

Random models, deep and narrow or shallow with a large vocabulary, on rows drawn at random; with `--model FOLDER` one more run
with that model. Everything runs in a process of its own: one plans, one trains two steps and saves the model. Measured is the
largest resident memory of the second over its life; on CUDA the most memory that was allocated there. On a CPU a third one does
the same with a C library that gives memory back at once, so that what it keeps back otherwise can be told from the rest.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Case:
    """One configuration. shape: of the model; words: drawn for a prompt and for an answer; changes: to the config."""

    name: str
    objective: str
    changes: dict[str, Any] = field(default_factory=dict)
    family: str = "llama"
    shape: dict[str, Any] = field(default_factory=dict)
    words: tuple[int, int] = (18, 18)


NARROW = {"hidden_size": 64, "intermediate_size": 192, "num_attention_heads": 4, "head_dim": 16, "vocab_size": 2048}
DEEP = {**NARROW, "num_hidden_layers": 16}
WIDE = {**NARROW, "hidden_size": 384, "num_attention_heads": 8, "head_dim": 48, "vocab_size": 49152}
AT_ONCE = {"train.micro_batch_tokens": 4096}
GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": "131072"}  # to glibc: every larger block is the system's again when it is freed
LORA = {"model.adapter": {"lora": {"r": 16}}}
CASES = [
    Case("SFT, deep Llama", "sft", AT_ONCE, shape=DEEP),
    Case("SFT, deep Llama, small micro-batches", "sft", {"train.micro_batch_tokens": 1024}, shape=DEEP),
    Case("SFT, deep Llama, checkpointing", "sft", {**AT_ONCE, "train.gradient_checkpointing": True}, shape=DEEP),
    Case("SFT, deep Llama, bf16 autocast", "sft", {**AT_ONCE, "train.precision": "bf16"}, shape=DEEP),
    Case("SFT, deep Llama, padded", "sft", {**AT_ONCE, "model.layout": "padded"}, shape=DEEP),
    Case("SFT, wide Llama of 49k tokens", "sft", {"train.micro_batch_tokens": 1024}, shape=WIDE, words=(6, 6)),
    Case("SFT, wide Llama, bfloat16 weights", "sft", {"train.precision": "pure_bf16"}, shape=WIDE, words=(6, 6)),
    Case("DPO, deep Llama", "dpo", AT_ONCE, shape=DEEP),
    Case("DPO, wide Llama, LoRA", "dpo", {**LORA, "train.micro_batch_tokens": 1024}, shape=WIDE, words=(6, 6)),
    Case("KTO, deep Qwen 3, SGD", "kto", {**AT_ONCE, "optimizer.name": "sgd"}, "qwen3", DEEP),
    Case("reward model, deep Llama", "bradley_terry", AT_ONCE, shape=DEEP),
    Case("SFT, deep GPT-2, Adafactor", "sft", {**AT_ONCE, "optimizer.name": "adafactor"}, "gpt2", DEEP),
]


def rows(case: Case) -> list[dict[str, Any]]:
    """Sixty-four rows of drawn letters, in the columns that the objective reads."""
    draw = np.random.default_rng(0)

    def text(words: int) -> str:
        return " ".join("".join(map(chr, draw.integers(97, 123, 4))) for _ in range(draw.integers(words // 2, 2 * words)))

    prompt, answer = case.words
    found: list[dict[str, Any]] = []
    for row in range(64):
        one = {"prompt": text(prompt)}
        if case.objective in ("dpo", "bradley_terry"):
            found.append({**one, "chosen": text(answer), "rejected": text(answer)})
        else:
            found.append({**one, "completion": text(answer), **({"label": row % 2 == 0} if case.objective == "kto" else {})})
    return found


def prepare(case: Case, folder: Path, model: Path | None) -> dict[str, Any]:
    """Write rows, a model with random weights, and give a config."""
    from burnish.testing import tiny_model, tiny_tokenizer

    if model is None:
        model = folder / "model"
        tiny_tokenizer(chat=False).save_pretrained(model)
        small = {"initializer_range": 0.02, "max_position_embeddings": 2048}
        tiny_model(case.family, **{**case.shape, **small}).save_pretrained(model)
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows(case))))
    return {
        "model.name": str(model),
        "data": {"main": {"source": str(folder / "rows.jsonl")}},
        "objective": [case.objective],
        "train": {"batch_size": 24, "steps": 2},
        "output": str(folder / "run"),
        **case.changes,
    }


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """{"a.b": 1} as {"a": {"b": 1}}."""
    config: dict[str, Any] = {}
    for path, value in flat.items():
        *above, last = path.split(".")
        inner = config
        for key in above:
            inner = inner.setdefault(key, {})
        inner[last] = {**inner.get(last, {}), **value} if isinstance(value, dict) else value
    return config


def told(config: dict[str, Any]) -> dict[str, int]:
    """What `burnish plan` says, by part."""
    from burnish import registry
    from burnish.config import load_config, with_plugin_options
    from burnish.engine.forecast import forecast

    plugins = registry.load()
    return dict(forecast(with_plugin_options(load_config(config), plugins), plugins).memory)


def taken(config: dict[str, Any]) -> dict[str, int]:
    """What training takes."""
    import burnish

    burnish.train(config)
    if torch.cuda.is_available():
        return {"peak": torch.cuda.max_memory_allocated()}
    return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def fresh(work: Callable[[dict[str, Any]], dict[str, int]], config: dict[str, Any]) -> dict[str, int]:
    """The answer of a process of its own, forked from one that has imported everything and done nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["burnish.api", "burnish.engine.forecast", "burnish.engine.setup", "burnish.engine.loop"])
    os.environ.update({"HF_HUB_OFFLINE": "1", "BURNISH_CACHE": str(Path(config["output"]).parent / "cache")})
    with context.Pool(1) as pool:
        return pool.apply(work, (config,))


def giving_back(work: Callable[[dict[str, Any]], dict[str, int]], config: dict[str, Any]) -> dict[str, int]:
    """The answer of a new process that keeps no memory back."""
    before = dict(os.environ)
    os.environ.update(GIVES_BACK)
    try:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(work, ({**config, "output": config["output"] + "-again"},))
    finally:
        os.environ.clear()
        os.environ.update(before)


def measure(case: Case, model: Path | None) -> list[int]:
    """Bytes told, taken, and, on a CPU, taken where the C library keeps nothing back."""
    with tempfile.TemporaryDirectory() as name:
        config = nested(prepare(case, Path(name), model))
        parts = fresh(told, config)
        found = [sum(parts.values()), fresh(taken, config)["peak"]]
        found += [] if torch.cuda.is_available() else [giving_back(taken, config)["peak"]]
    by_part = {part: f"{size / 1e6:.0f}" for part, size in parts.items()}
    print(case.name, by_part, *(f"{one / 1e6:.0f}" for one in found), flush=True)
    return found


def line(name: str, said: int, *took: int) -> str:
    """A row of the table."""
    cells = [cell for one in took for cell in (f"{one / 1e6:,.0f}", f"{said / one - 1:+.1%}")]
    return f"| {name} | {said / 1e6:,.0f} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    parser.add_argument("--model", type=Path, help="a model's folder, for one more run")
    parser.add_argument("--write", type=Path, help="Markdown file; what stands above its table is kept")
    asked = parser.parse_args()
    runs = [(case, None) for case in CASES]
    if asked.model:
        runs.append((Case(f"DPO, {asked.model.name}", "dpo", {"train.micro_batch_tokens": 1024}), asked.model.resolve()))
    heads = ["run", "told, MB", "taken, MB", "off by"]
    heads += [] if torch.cuda.is_available() else ["nothing kept back, MB", "off by"]
    table = [f"| {' | '.join(heads)} |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    for case, model in runs:
        if asked.case.lower() in case.name.lower():
            table.append(line(case.name, *measure(case, model)))
    print("\n".join(table))
    if asked.write:
        where = "CUDA" if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
        head = f"# Memory, told and taken\n\n{platform.machine()}, {where}, torch {torch.__version__}\n"
        old = asked.write.read_text(encoding="utf-8") if asked.write.is_file() else head
        asked.write.write_text("\n".join([old.partition("\n| run")[0].rstrip(), "", *table]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

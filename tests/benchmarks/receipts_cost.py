"""What the proof that a backend holds the weights costs: at the start, and at every transfer.

    python -m tests.benchmarks.receipts_cost --model FOLDER --write docs/benchmarks/DATE-receipts.md

The backend is a copy of the model in the same process, drawn from by the sampler that `hf` has, and asked as a server would be.
Beside whole transfers, their parts are measured alone; and the hashes of a transfer through a file, as the package `vllm` makes
them. A share is of a step of 30 s.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from burnish.config.sections import RolloutSection, SamplingSection
from burnish.engine.export import distinct
from burnish.engine.sending import Sender
from burnish.engine.step import StepRunner
from burnish.model.check import check_layout
from burnish.model.roles import Roles
from burnish.model.scorer import Scorer
from burnish.objective.compose import Objective
from burnish.registry import load
from burnish.rollout.contract import Capabilities, Held, Receipt
from burnish.rollout.sampler import Completion, HFSampler

STEP_S = 30.0


class Copy:
    """A backend with a copy of the model."""

    capabilities = Capabilities()

    def __init__(self, model: nn.Module, tokenizer: Any) -> None:
        self.model = copy.deepcopy(model).eval()
        self.sampler = HFSampler(self.model, tokenizer)
        self._waiting: list[tuple[Sequence[int], SamplingSection, int, asyncio.Future[Completion]]] = []

    async def generate(self, ids: Sequence[int], sampling: SamplingSection, seed: int = 0) -> Completion:
        """A completion; what is asked for at once is decoded together."""
        answer: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._waiting.append((ids, sampling, seed, answer))
        await asyncio.sleep(0)
        asked, self._waiting = self._waiting, []
        if asked:
            found = self.sampler.generate([one[0] for one in asked], asked[0][1], [one[2] for one in asked])
            for (*_, waits), completion in zip(asked, found, strict=True):
                waits.set_result(completion)
        return await answer

    async def update(self, version: int, weights: Mapping[str, Tensor]) -> Receipt:
        """Load them, and say what is held then."""
        self.load(weights)
        state = self.model.state_dict()
        return Receipt.of(version, {name: state[name] for name in weights})

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """The transfer alone."""
        self.model.load_state_dict(weights, strict=False)

    async def close(self) -> None:
        """Nothing to give back."""


def costs(model: nn.Module, tokenizer: Any, times: int) -> dict[str, list[float]]:
    """Seconds, by what they are of; the handshake comes once."""
    kind = check_layout(model, "tree").kind
    roles = Roles(Scorer(model, kind), kind)
    runner = StepRunner(roles, Objective.parse([{"sft": {}}], load()), 1024)
    backend = Copy(model, tokenizer)
    told: list[str] = []
    accelerator, section = Accelerator(cpu=not torch.cuda.is_available()), RolloutSection()
    sender = Sender(backend, model, tokenizer, runner, section, accelerator, told.append)
    weights = distinct(model)
    found = {"handshake": [seconds(lambda: sender.send(0))]}

    def every(what: str, work: Callable[[], Any]) -> None:
        found[what] = [seconds(work) for _ in range(times)]

    def hashes() -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(Held.of, weights.values()))

    versions = iter(range(1, 1000))
    every("transfer with its proof", lambda: sender.send(next(versions)))
    every("transfer alone", lambda: backend.load(weights))
    every("hashes of one side", hashes)
    canaries = sender.canaries.short
    answers = asyncio.run(canaries.ask(backend))
    every("canaries asked", lambda: asyncio.run(canaries.ask(backend)))
    every("canaries scored", lambda: canaries.score(answers))
    return {**found, **through_a_file(weights, times)}


def through_a_file(weights: Mapping[str, Tensor], times: int) -> dict[str, list[float]]:
    """A transfer in bfloat16 as vLLM's workers make it, with hashes and without, into tensors that are there already."""
    from burnish_vllm.exchange import noted, read_weights, write_weights

    narrow = {name: tensor.detach().to(torch.bfloat16) for name, tensor in weights.items()}
    there = {name: torch.empty_like(tensor) for name, tensor in narrow.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = write_weights(Path(folder), "weights", narrow)

        def take(hashed: bool) -> None:
            read = read_weights(path)
            for name, tensor in noted(read, {}) if hashed else read:
                there[name].copy_(tensor)

        take(False)
        plain = [seconds(lambda: take(False)) for _ in range(times)]
        return {"file read, bfloat16": plain, "file read and hashed": [seconds(lambda: take(True)) for _ in range(times)]}


def seconds(work: Callable[[], Any]) -> float:
    """That it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def markdown(found: Mapping[str, Sequence[float]]) -> str:
    """One line a part; and what the proof adds to a transfer."""
    lines = ["| part | s | range | of a 30 s step |", "|---|---:|---|---:|"]
    middle = {what: statistics.median(times) for what, times in found.items()}
    for what, times in found.items():
        lines.append(f"| {what} | {middle[what]:.3f} | {min(times):.3f}-{max(times):.3f} | {middle[what] / STEP_S:.2%} |")
    for what, whole, part in (
        ("**the proof at a transfer**", "transfer with its proof", "transfer alone"),
        ("**hashes of a transfer through a file**", "file read and hashed", "file read, bfloat16"),
    ):
        more = middle[whole] - middle[part]
        lines.append(f"| {what} | {more:.3f} | | {more / STEP_S:.2%} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of a model")
    parser.add_argument("--times", type=int, default=7, help="transfers, and times of each part")
    parser.add_argument("--write", type=Path, help="Markdown file; what stands above its table is kept")
    asked = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(asked.model, dtype=torch.float32)
    table = markdown(costs(model, AutoTokenizer.from_pretrained(asked.model), asked.times))
    print(table)
    if asked.write:
        old = asked.write.read_text(encoding="utf-8") if asked.write.is_file() else "# What receipts cost\n"
        asked.write.write_text(old.partition("\n| part")[0].rstrip() + "\n\n" + table, encoding="utf-8")


if __name__ == "__main__":
    main()

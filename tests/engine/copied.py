"""Backends with a copy of the model, as a server would have one. Named by path in configs of the tests."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from burnish.config.sections import SamplingSection
from burnish.rollout.contract import Capabilities, Receipt
from burnish.rollout.sampler import Completion, HFSampler


class Copied:
    """Loads what it is sent, and proves it."""

    capabilities = Capabilities()

    def __init__(self, *, model: str) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(model)
        self.sampler = HFSampler(self.model, AutoTokenizer.from_pretrained(model))

    async def generate(self, ids: Sequence[int], sampling: SamplingSection, seed: int = 0) -> Completion:
        [completion] = await asyncio.to_thread(self.sampler.generate, [ids], sampling, [seed])
        return completion

    async def update(self, version: int, weights: Mapping[str, Tensor]) -> Receipt:
        self.model.load_state_dict(weights, strict=False)
        state = self.model.state_dict()
        return Receipt.of(version, {name: state[name] for name in weights})

    async def close(self) -> None:
        del self.sampler, self.model


class Forgetful(Copied):
    """Forgets one tensor of every update."""

    async def update(self, version: int, weights: Mapping[str, Tensor]) -> Receipt:
        first, *_ = weights
        return await super().update(version, {name: 0.5 * one if name == first else one for name, one in weights.items()})


class Noted(Copied):
    """Writes down what it is asked for, a word a line."""

    def __init__(self, *, model: str, notes: str) -> None:
        super().__init__(model=model)
        self.notes = Path(notes)

    def note(self, word: str) -> None:
        with self.notes.open("a") as file:
            file.write(f"{word}\n")

    async def generate(self, ids: Sequence[int], sampling: SamplingSection, seed: int = 0) -> Completion:
        self.note("generate")
        return await super().generate(ids, sampling, seed)

    async def update(self, version: int, weights: Mapping[str, Tensor]) -> Receipt:
        self.note("update")
        return await super().update(version, weights)

    async def rest(self) -> None:
        self.note("rest")

    async def close(self) -> None:
        self.note("close")
        await super().close()

"""Backends with one fault each, of the kinds that real samplers have. All but `Adapted` do not do what their receipts promise,
or promise something else than was sent."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from copied import Copied
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor

from burnish.config.sections import SamplingSection
from burnish.engine.canaries import FEW_TOKENS, NEW_TOKENS
from burnish.errors import InfrastructureError, ModelError
from burnish.rollout.contract import Capabilities, Held, Receipt
from burnish.rollout.distribution import draw, random_stream
from burnish.rollout.sampler import Completion, HFSampler


class Renamed(Copied):
    """Knows one parameter by another name, and leaves it as it was."""

    async def update(self, version: int, weights: Mapping[str, Tensor]) -> Receipt:
        [left] = (name for name in weights if name.endswith("layers.0.self_attn.q_proj.weight"))
        receipt = await super().update(version, {name: one for name, one in weights.items() if name != left})
        other = Held.of(self.model.state_dict()[left])
        return Receipt(version=version, tensors={**receipt.tensors, left.replace("q_proj", "qproj"): other})


class Half(Copied):
    """Is interrupted in the middle of every update."""

    async def update(self, version: int, weights: Mapping[str, Tensor]) -> Receipt:
        names = list(weights)
        return await super().update(version, {name: weights[name] for name in names[: len(names) // 2]})


class Rounded(Copied):
    """Holds its weights in another precision than it was told."""

    async def update(self, version: int, weights: Mapping[str, Tensor]) -> Receipt:
        await super().update(version, weights)
        return Receipt.of(version, {name: tensor.to(torch.bfloat16) for name, tensor in weights.items()})


class Larger(Copied):
    """Has more ids than it is sent rows for, and pads them."""

    async def update(self, version: int, weights: Mapping[str, Tensor]) -> Receipt:
        await super().update(version, weights)
        rows = {name: torch.cat([one, one[:64]]) for name, one in weights.items() if "lm_head" in name or "embed" in name}
        return Receipt.of(version, {**weights, **rows})


class Deaf(Copied):
    """Acknowledges every update, and goes on with the weights that it began with."""

    async def update(self, version: int, weights: Mapping[str, Tensor]) -> Receipt:
        return Receipt.of(version, weights)


class Mixing(Copied):
    """Acknowledges everything, but half of it only is used."""

    async def update(self, version: int, weights: Mapping[str, Tensor]) -> Receipt:
        names = list(weights)
        await super().update(version, {name: weights[name] for name in names[len(names) // 2 :]})
        return Receipt.of(version, weights)


class StalePrefixes(Copied):
    """Keeps what it computed for the first 128 ids of a prompt, whatever happens to the weights."""

    def __init__(self, *, model: str) -> None:
        super().__init__(model=model)
        self.kept: dict[tuple[int, ...], Any] = {}

    async def generate(self, ids: Sequence[int], sampling: SamplingSection, seed: int = 0) -> Completion:
        if len(ids) <= 128:
            return await super().generate(ids, sampling, seed)
        prefix = tuple(ids[:128])
        with torch.no_grad():
            if prefix not in self.kept:
                self.kept[prefix] = self.model(torch.tensor([prefix]), use_cache=True).past_key_values
            cache, following = copy.deepcopy(self.kept[prefix]), torch.tensor([list(ids[128:])])
            new, logps = [], []
            for uniform in random_stream(seed, tuple(ids), 0, sampling.max_new_tokens):
                logits = self.model(following, past_key_values=cache).logits[:, -1]
                token, logp, _ = draw(logits, torch.tensor([uniform]), sampling)
                new.append(int(token))
                logps.append(float(logp))
                following = token[:, None]
        return Completion(new, logps, False)


class Restarted(Copied):
    """Is restarted, with the weights that it began with, right after update number `restart`. silent: does not tell what
    version its completions are of."""

    def __init__(self, *, model: str, restart: int, silent: bool = False) -> None:
        super().__init__(model=model)
        self.restart, self.silent = restart, silent
        self.updates = self.version = 0
        self.first = copy.deepcopy(self.model.state_dict())

    async def generate(self, ids: Sequence[int], sampling: SamplingSection, seed: int = 0) -> Completion:
        found = await super().generate(ids, sampling, seed)
        return Completion(found.ids, found.logps, found.finished, [] if self.silent else [self.version] * len(found.ids))

    async def update(self, version: int, weights: Mapping[str, Tensor]) -> Receipt:
        receipt = await super().update(version, weights)
        self.updates, self.version = self.updates + 1, version
        if self.updates == self.restart:
            self.model.load_state_dict(self.first)
            self.version = 0
        return receipt


class Failing(Copied):
    """Fails in one way, from the ninth completion that a prompt of a run asks for on, so many times; canaries it answers."""

    def __init__(self, *, model: str, fault: str, times: int) -> None:
        super().__init__(model=model)
        self.fault, self.left, self.asked = fault, times, 0

    async def generate(self, ids: Sequence[int], sampling: SamplingSection, seed: int = 0) -> Completion:
        found = await super().generate(ids, sampling, seed)
        is_canary = sampling.max_new_tokens in (NEW_TOKENS, FEW_TOKENS)
        self.asked += not is_canary
        if self.asked <= 8 or self.left <= 0 or is_canary:
            return found
        self.left -= 1
        if self.fault == "gone":
            raise InfrastructureError("the server cannot be reached")
        if self.fault == "refuses":
            raise ModelError("the server refused with 400")
        if self.fault == "foreign":
            return Completion([9999, *found.ids[1:]], found.logps, found.finished)
        return Completion([1] * 6, [-1.0] * 5, found.finished)


class Adapted(Copied):
    """Takes an adapter alone."""

    capabilities = Capabilities(adapters=True)
    uses = True

    async def load_adapter(self, version: int, weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> Receipt:
        base = self.model.unload() if hasattr(self.model, "unload") else self.model
        adapted = get_peft_model(base, LoraConfig(**{key: config[key] for key in ("r", "lora_alpha", "target_modules")}))
        if self.uses:
            set_peft_model_state_dict(adapted, dict(weights))
        await asyncio.to_thread(setattr, self.sampler, "model", adapted)
        self.model = adapted
        held = get_peft_model_state_dict(adapted) if self.uses else weights
        return Receipt.of(version, held)

    async def update(self, version: int, weights: Mapping[str, Tensor]) -> Receipt:
        raise AssertionError("an adapter alone was to be sent")


class NeverAdapted(Adapted):
    """Acknowledges adapters without using them."""

    uses = False


class InBfloat16(Copied):
    """Says in which precision it holds its weights."""

    capabilities = Capabilities(dtype="bfloat16")

    def __init__(self, *, model: str) -> None:
        super().__init__(model=model)
        self.model = self.model.to(torch.bfloat16)
        self.sampler = HFSampler(self.model, self.sampler.tokenizer)

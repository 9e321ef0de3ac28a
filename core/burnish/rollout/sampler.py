"""Sampling in the training process: token ids in, token ids and log-probabilities out. Knows nothing of text but stop strings.

Equal prompts are prefilled once and their cache is copied to every request; rows that have finished leave the batch. Rows are
padded on the left, so that all end at the same column of the cache.
Shapes: U prompts without repetition, R requests still running, W width of the cache, V vocabulary.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from burnish.batch.attention import own_attention
from burnish.errors import ModelError
from burnish.model.scorer import base_of
from burnish.rollout.distribution import draw, random_stream

if TYPE_CHECKING:
    from burnish.config.sections import SamplingSection


@dataclass(frozen=True, slots=True)
class Completion:
    """What one request got. ids: every sampled token, the end included; logps: nats, one per id, under the distribution it was
    drawn from; finished: it ended by itself (end of sequence or stop string), not at the limit; versions: of the weights that
    drew each id, where weights have versions."""

    ids: list[int]
    logps: list[float]
    finished: bool
    versions: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Request:
    """A completion in the making. prompt: its place among the distinct prompts; uniforms: one number per token it may draw."""

    index: int
    prompt: int
    uniforms: np.ndarray[Any, np.dtype[np.float32]]
    ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    finished: bool = False


@contextmanager
def generating(model: nn.Module) -> Iterator[None]:
    """Within: no gradients, evaluation mode, attention that works with a cache. After: everything as it was before."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad(), own_attention(base_of(model)):
            yield
    finally:
        for module in training:
            module.training = True


class HFSampler:
    """Batched decoding with the weights as they are at each call.

    max_rows: requests decoded at once; the requests of one prompt stay together, so a large group may exceed it.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, max_rows: int = 64) -> None:
        self.model, self.tokenizer, self.max_rows = model, tokenizer, max_rows
        base = base_of(model)
        accepted = inspect.signature(base.forward).parameters
        self._cache_name = next((name for name in ("past_key_values", "cache_params") if name in accepted), None)
        if self._cache_name is None or base.get_output_embeddings() is None:
            raise ModelError(f"{type(base).__name__} cannot generate: it is not a language model with a cache")
        self._takes_positions = "position_ids" in accepted
        self._last_only: dict[str, int] = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: SamplingSection, seed: int | Sequence[int] = 0
    ) -> list[Completion]:
        """One completion per prompt, in order. Repeat a prompt to sample from it again.

        What a request draws depends on the seed, its prompt and how many equal prompts came before it, on nothing else. seed:
        for all, or one for each, which then stands for how many came before it too.
        """
        done: list[Completion | None] = [None] * len(prompts)
        with generating(self.model):
            for finished in self._decoding(prompts, sampling, seed, lambda _: False):
                for index, completion in finished:
                    done[index] = completion
        return [completion for completion in done if completion is not None]

    def stream(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: SamplingSection,
        seed: int | Sequence[int],
        given_up: Callable[[int], bool],
    ) -> Iterator[list[tuple[int, Completion]]]:
        """As `generate`, but after every token: the completions that it ended, by the index of their prompt. given_up: whether
        nobody waits for one any more; it leaves the batch, as if it had never been asked for."""
        decoding = self._decoding(prompts, sampling, seed, given_up)
        while True:
            with generating(self.model):  # not while others have their turn
                finished = next(decoding, None)
            if finished is None:
                return
            yield finished

    def _decoding(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: SamplingSection,
        seed: int | Sequence[int],
        given_up: Callable[[int], bool],
    ) -> Iterator[list[tuple[int, Completion]]]:
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, prompt in enumerate(prompts):
            if not len(prompt):
                raise ModelError(f"prompt {index} has no tokens, so there is nothing to continue")
            groups.setdefault(tuple(map(int, prompt)), []).append(index)
        for distinct in self._batches(groups):
            requests = [
                _Request(index, place, random_stream(*stream, sampling.max_new_tokens))
                for place, prompt in enumerate(distinct)
                for occurrence, index in enumerate(groups[prompt])
                for stream in [(seed, prompt, occurrence) if isinstance(seed, int) else (seed[index], prompt, 0)]
                if not given_up(index)
            ]
            for ended in self._decode(distinct, requests, sampling, given_up) if requests else ():
                yield [(one.index, Completion(one.ids, one.logps, one.finished)) for one in ended]

    def _batches(self, groups: dict[tuple[int, ...], list[int]]) -> Iterator[list[tuple[int, ...]]]:
        """Distinct prompts of like length, as many as fill `max_rows` with their requests."""
        batch: list[tuple[int, ...]] = []
        rows = 0
        for prompt in sorted(groups, key=lambda prompt: (len(prompt), prompt)):
            if batch and rows + len(groups[prompt]) > self.max_rows:
                yield batch
                batch, rows = [], 0
            batch.append(prompt)
            rows += len(groups[prompt])
        if batch:
            yield batch

    def _decode(
        self,
        prompts: list[tuple[int, ...]],
        running: list[_Request],
        sampling: SamplingSection,
        given_up: Callable[[int], bool],
    ) -> Iterator[list[_Request]]:
        """Fills the requests, in place; after every token, those that it ended."""
        device = next(self.model.parameters()).device
        width = max(map(len, prompts))
        mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts], device=device)  # [U, W]
        ids = torch.tensor([[ids[0]] * (width - len(ids)) + list(ids) for ids in prompts], device=device)  # [U, W]
        logits, cache = self._forward(ids, mask, None)
        rows = torch.tensor([request.prompt for request in running], device=device)
        logits, mask = logits[rows], mask[rows]
        if len(rows) != len(prompts):
            cache.reorder_cache(rows)
        for step in range(sampling.max_new_tokens):
            uniforms = torch.tensor(np.array([request.uniforms[step] for request in running]), device=device)
            tokens, logps = draw(logits, uniforms, sampling)
            for request, token, logp in zip(running, tokens.tolist(), logps.tolist(), strict=True):
                if math.isnan(logp):
                    raise ModelError(f"after {len(request.ids)} sampled tokens the model's logits are not numbers")
                request.ids.append(token)
                request.logps.append(logp)
                request.finished = self._is_end(request.ids, sampling.stop)
            last = step + 1 == sampling.max_new_tokens
            yield [request for request in running if request.finished or last]
            kept = [place for place, request in enumerate(running) if not request.finished and not given_up(request.index)]
            if last or not kept:
                return
            if len(kept) < len(running):
                rows = torch.tensor(kept, device=device)
                tokens, mask = tokens[rows], mask[rows]
                cache.reorder_cache(rows)
                running = [running[place] for place in kept]
            mask = torch.cat([mask, mask.new_ones(len(running), 1)], 1)
            logits, cache = self._forward(tokens[:, None], mask, cache)

    def _forward(self, ids: Tensor, mask: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Logits after the last token, [rows, V], and the cache. ids: the new tokens; mask: [rows, W] over old and new ones."""
        inputs: dict[str, Any] = {"input_ids": ids, "use_cache": True, **self._last_only}
        if self._takes_positions:
            inputs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        if cache is not None:
            inputs[str(self._cache_name)] = cache
        if cache is None or self._cache_name == "past_key_values":  # a recurrent state has no columns left to mask
            inputs["attention_mask"] = mask
        output = self.model(**inputs)
        return output.logits[:, -1], getattr(output, str(self._cache_name))

    def _is_end(self, ids: list[int], stop: Sequence[str]) -> bool:
        if ids[-1] in self._ends:
            return True
        if not stop:
            return False
        # A token is at least one byte of UTF-8, so this many surely hold a stop string that ends here.
        tail = ids[-max(len(text.encode()) for text in stop) - 3 :]
        text = self.tokenizer.decode(tail, skip_special_tokens=False)
        return any(string in text for string in stop)

    @property
    def _ends(self) -> set[int]:
        """Ids that end a completion: the tokenizer's and the generation config's."""
        config = getattr(base_of(self.model), "generation_config", None)
        ends = getattr(config, "eos_token_id", None)
        listed = ends if isinstance(ends, list) else [ends]
        return {int(end) for end in (*listed, self.tokenizer.eos_token_id) if end is not None}

"""Sampling in the training process: token ids in, token ids and log-probabilities out. Knows nothing of text but stop strings.

Equal prompts, and beginnings that prompts share, are prefilled once and their cache is copied to every request; rows that have
finished leave the batch, and when they leave room for all requests of the next prompt, these come in.
Shapes: U prompts without repetition, W width of the cache, V vocabulary.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, DynamicLayer

from burnish.batch.attention import own_attention
from burnish.errors import ModelError
from burnish.model.scorer import base_of
from burnish.rollout.columns import make_room
from burnish.rollout.decoder import Decoder
from burnish.rollout.distribution import draw, random_stream
from burnish.rollout.packed import PackedLinears
from burnish.rollout.rows import Request, Rows
from burnish.rollout.stems import Level, levels
from burnish.rollout.waiting import Shows, unseen

if TYPE_CHECKING:
    from burnish.config.sections import SamplingSection

SHORT = 8
"""Tokens of a completion for which weights are not packed."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What one request got. ids: every sampled token, the end included; logps: nats, one per id, under the distribution it was
    drawn from; finished: it ended by itself (end of sequence or stop string), not at the limit; versions: of the weights that
    drew each id, where weights have versions. likeliest_ids, likeliest_logps: where they were asked for, K of each for every
    id: the likeliest tokens of that distribution, likeliest first, and their log-probabilities; -1 and 0 where it has fewer."""

    ids: list[int]
    logps: list[float]
    finished: bool
    versions: list[int] = field(default_factory=list)
    likeliest_ids: list[list[int]] = field(default_factory=list)
    likeliest_logps: list[list[float]] = field(default_factory=list)


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

    max_rows: requests decoded at once; the requests of one prompt stay together, so a large group may exceed it. shows: is told
    how many requests are done, of how many, whenever one is.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, max_rows: int = 64, shows: Shows = unseen) -> None:
        self.model, self.tokenizer, self.max_rows, self.shows = model, tokenizer, max_rows, shows
        base = base_of(model)
        accepted = inspect.signature(base.forward).parameters
        self._cache_name = next((name for name in ("past_key_values", "cache_params") if name in accepted), None)
        if self._cache_name is None or base.get_output_embeddings() is None:
            raise ModelError(f"{type(base).__name__} cannot generate: it is not a language model with a cache")
        self._takes_positions = "position_ids" in accepted
        # Windows and recurrent states cannot be gone on from after columns that are pads.
        cached = DynamicCache(config=base.config).layers if self._cache_name == "past_key_values" else [None]
        self._can_share = self._takes_positions and all(type(layer) is DynamicLayer for layer in cached)
        self._decoder: Decoder | None = None
        self._last_only: dict[str, int] = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: SamplingSection, seed: int | Sequence[int] = 0
    ) -> list[Completion]:
        """One completion per prompt, in order. Repeat a prompt to sample from it again.

        What a request draws depends on the seed, its prompt and how many equal prompts came before it, on nothing else. seed:
        for all, or one for each, which then stands for how many came before it too.
        """
        done: list[Completion | None] = [None] * len(prompts)
        with generating(self.model), self._products(sampling)():
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
        more: Callable[[], Sequence[tuple[Sequence[int], int]]] = tuple,
    ) -> Iterator[list[tuple[int, Completion]]]:
        """As `generate`, but after every token: the completions that it ended, by the index of their prompt. given_up: whether
        nobody waits for one any more; it leaves the batch, as if it had never been asked for. more: prompts that were asked for
        since, each with its seed; their indices go on from those before."""
        decoding, products = self._decoding(prompts, sampling, seed, given_up, more), self._products(sampling)
        while True:
            with generating(self.model), products():  # not while others have their turn
                finished = next(decoding, None)
            if finished is None:
                return
            yield finished

    def _products(self, sampling: SamplingSection) -> Callable[[], AbstractContextManager[None]]:
        """How layers multiply: with packed weights, unless completions are so short that packing takes longer than it saves."""
        return PackedLinears(self.model).used if sampling.max_new_tokens > SHORT else nullcontext

    def _decoding(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: SamplingSection,
        seed: int | Sequence[int],
        given_up: Callable[[int], bool],
        more: Callable[[], Sequence[tuple[Sequence[int], int]]] = tuple,
    ) -> Iterator[list[tuple[int, Completion]]]:
        asked = [(prompt, seed if isinstance(seed, int) else seed[index]) for index, prompt in enumerate(prompts)]
        waiting = _grouped(asked, 0, sampling, share_seed=isinstance(seed, int))
        count, done, rows = len(asked), 0, None
        self._decoder = Decoder.of(self.model, self._decoder)
        while waiting or rows is not None:
            rows = self._admit(rows, waiting, given_up, sampling.repetition_penalty != 1)
            if rows is None:
                continue
            if ended := self._draw(rows, sampling):
                done += len(ended)
                self.shows(done, count)
            yield [
                (one.index, Completion(one.ids, one.logps, one.finished, [], one.likeliest_ids, one.likeliest_logps))
                for one in ended
            ]
            if arrived := more():
                waiting += _grouped(arrived, count, sampling, share_seed=False)
                count += len(arrived)
            rows = self._advance(rows, ended, given_up)

    def _admit(
        self, rows: Rows | None, waiting: list[_Group], given_up: Callable[[int], bool], remember: bool
    ) -> Rows | None:
        """The rows, and those of prompts that wait and have room; these wait no longer. None where nobody is there."""
        if rows is not None and not (waiting and rows.can_grow):
            return rows
        room, groups = self.max_rows - (0 if rows is None else len(rows.requests)), list[_Group]()
        while waiting:
            waiting[0].requests = [one for one in waiting[0].requests if not given_up(one.index)]
            if len(waiting[0].requests) > room and (rows is not None or groups):
                break
            room -= len(waiting[0].requests)
            groups += [group for group in [waiting.pop(0)] if group.requests]
        if not groups:
            return rows
        new = self._prefill(groups, remember)
        if rows is None:
            return new
        rows.join(new)
        return rows

    def _prefill(self, groups: list[_Group], remember: bool) -> Rows:
        """Rows of all requests; what prompts share is forwarded once. remember: whether it matters which tokens a row has."""
        device = next(self.model.parameters()).device
        prompts = [group.prompt for group in groups]
        logits, cache, mask = torch.empty(0), None, torch.empty(1, 0, dtype=torch.int64, device=device)
        for level in levels(prompts) if self._can_share else [Level((0,) * len(prompts), tuple(prompts))]:
            parents, pads = torch.tensor(level.parents, device=device), [level.width - len(piece) for piece in level.pieces]
            if cache is not None:
                cache.reorder_cache(parents)
            own = [[0] * pad + [1] * len(piece) for pad, piece in zip(pads, level.pieces, strict=True)]
            ids = [prompts[0][:1] * pad + piece for pad, piece in zip(pads, level.pieces, strict=True)]
            mask = torch.cat([mask[parents], torch.tensor(own, device=device)], 1)
            logits, cache = self._forward(torch.tensor(ids, device=device), mask, cache)
        make_room(cache)
        seen = torch.zeros_like(logits, dtype=torch.bool) if remember else None
        for place, prompt in enumerate(prompts if seen is not None else ()):
            seen[place, list(prompt)] = True  # type: ignore[index]
        rows = Rows([], logits, mask, cache, seen)
        every = [(place, one) for place, group in enumerate(groups) for one in group.requests]
        rows.spread([one for _, one in every], [place for place, _ in every])
        return rows

    def _draw(self, rows: Rows, sampling: SamplingSection) -> list[Request]:
        """One token for every row; the requests that it ended."""
        numbers = np.array([request.uniforms[len(request.ids)] for request in rows.requests])
        uniforms = torch.tensor(numbers, device=rows.mask.device)
        drawn = draw(rows.logits, uniforms, sampling, rows.seen, getattr(sampling, "likeliest", 0))
        if rows.seen is not None:
            rows.seen.scatter_(1, drawn.tokens[:, None], True)
        for request, token, logp in zip(rows.requests, drawn.tokens.tolist(), drawn.logps.tolist(), strict=True):
            if math.isnan(logp):
                raise ModelError(f"after {len(request.ids)} sampled tokens the model's logits are not numbers")
            request.ids.append(token)
            request.logps.append(logp)
            request.finished = self._is_end(request.ids, sampling.stop)
        if drawn.likeliest is not None:
            for request, ids, logps in zip(rows.requests, *(one.tolist() for one in drawn.likeliest), strict=True):
                request.likeliest_ids.append(ids)
                request.likeliest_logps.append(logps)
        return [one for one in rows.requests if one.finished or len(one.ids) == sampling.max_new_tokens]

    def _advance(self, rows: Rows, ended: list[Request], given_up: Callable[[int], bool]) -> Rows | None:
        """The rows that go on, ready for the next token; None where none does."""
        over = {request.index for request in ended}
        kept = [
            place
            for place, request in enumerate(rows.requests)
            if request.index not in over and not given_up(request.index)
        ]
        if not kept:
            return None
        rows.keep(kept)
        tokens = torch.tensor([[request.ids[-1]] for request in rows.requests], device=rows.mask.device)
        rows.mask = torch.cat([rows.mask, rows.mask.new_ones(len(kept), 1)], 1)
        own = partial(self._forward, tokens, rows.mask, rows.cache)
        if self._decoder is None:
            rows.logits, rows.cache = own()
        else:
            rows.logits = self._decoder.logits(tokens, rows.mask, rows.cache, lambda: own()[0])
        return rows

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


@dataclass
class _Group:
    """The requests of one prompt."""

    prompt: tuple[int, ...]
    requests: list[Request]


def _grouped(
    asked: Sequence[tuple[Sequence[int], int]], first: int, sampling: SamplingSection, share_seed: bool
) -> list[_Group]:
    """Requests by their prompts, short ones first. first: the index of the first; share_seed: whether equal prompts share a
    stream of random numbers, each request with its own part, instead of having a seed each."""
    groups: dict[tuple[int, ...], list[Request]] = {}
    for index, (prompt, seed) in enumerate(asked, first):
        if not len(prompt):
            raise ModelError(f"prompt {index} has no tokens, so there is nothing to continue")
        key = tuple(map(int, prompt))
        group = groups.setdefault(key, [])
        group.append(Request(index, random_stream(seed, key, len(group) if share_seed else 0, sampling.max_new_tokens)))
    return [_Group(prompt, groups[prompt]) for prompt in sorted(groups, key=lambda prompt: (len(prompt), prompt))]

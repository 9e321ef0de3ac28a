"""The built-in backend: the model that is being trained draws its own completions, many requests at once.

In: requests from coroutines. Out: completions. Requests made before the next batch begins are decoded together, so that a
group shares the prefill of its prompt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from burnish.errors import ModelError
from burnish.rollout.contract import Capabilities, Receipt
from burnish.rollout.sampler import Completion, HFSampler

if TYPE_CHECKING:
    from burnish.config.sections import SamplingSection

SETTLES = 3  # turns of the event loop without a new request, after which a batch begins


@dataclass(frozen=True, eq=False)
class _Request:
    ids: tuple[int, ...]
    sampling: SamplingSection
    seed: int
    answer: asyncio.Future[Completion]


class LocalBackend:
    """Completions from the very weights that are trained, so there is nothing to send.

    max_rows: requests decoded at once; the requests of one prompt stay together, so a large group may exceed it.
    """

    capabilities = Capabilities(live=True)

    def __init__(self, *, max_rows: int = 64) -> None:
        self.max_rows = max_rows
        self._sampler: HFSampler | None = None
        self._within: Callable[[], AbstractContextManager[Any]] = nullcontext
        self._waiting: list[_Request] = []
        self._serving: asyncio.Task[None] | None = None

    def draw_from(self, model: nn.Module, tokenizer: Any, within: Callable[[], AbstractContextManager[Any]]) -> None:
        """Whose weights. within: a context for the forward passes, such as autocast."""
        self._sampler, self._within = HFSampler(model, tokenizer, self.max_rows), within

    async def generate(self, ids: Sequence[int], sampling: SamplingSection, seed: int = 0) -> Completion:
        """One completion; what it is depends on the weights, the ids, the sampling settings and the seed alone."""
        if self._sampler is None:
            raise ModelError("the backend 'hf' draws from the model that is trained; it was given none yet")
        request = _Request(tuple(ids), sampling, seed, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve(self._sampler))
        return await request.answer

    async def update(self, version: int, weights: Mapping[str, Tensor]) -> Receipt:
        """What is held: the weights themselves."""
        return Receipt.of(version, weights)

    async def close(self) -> None:
        """Nothing to give back; requests that still wait are cancelled."""
        for request in self._waiting:
            request.answer.cancel()

    async def _serve(self, sampler: HFSampler) -> None:
        while self._waiting:
            known, quiet = len(self._waiting), 0
            while quiet < SETTLES:
                await asyncio.sleep(0)
                quiet = quiet + 1 if len(self._waiting) == known else 0
                known = len(self._waiting)
            sampling = self._waiting[0].sampling
            batch = [request for request in self._waiting if request.sampling == sampling]
            self._waiting = [request for request in self._waiting if request.sampling != sampling]
            try:
                with self._within():
                    ids, seeds = [request.ids for request in batch], [request.seed for request in batch]
                    completions = sampler.generate(ids, sampling, seeds)
            except Exception as error:  # belongs to those who asked, who may end an episode with it
                for request in batch:
                    request.answer.set_exception(error)
            else:
                for request, completion in zip(batch, completions, strict=True):
                    request.answer.set_result(completion)

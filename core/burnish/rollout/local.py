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
from burnish.rollout.mixture import Mixture, Reference
from burnish.rollout.sampler import Completion, HFSampler
from burnish.rollout.waiting import Shows, unseen

if TYPE_CHECKING:
    from burnish.config.sections import SamplingSection

SETTLES = 3  # turns of the event loop without a new request, after which a batch begins
REACTS = 24  # turns of the event loop in which those who got a completion can ask that others be given up


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

    capabilities = Capabilities(live=True, mixture=True, likeliest=True)

    def __init__(self, *, max_rows: int = 64) -> None:
        self.max_rows = max_rows
        self._sampler: HFSampler | None = None
        self._within: Callable[[], AbstractContextManager[Any]] = nullcontext
        self._stepwise = False
        self._reference: Reference | None = None
        self._mixtures: dict[float, HFSampler] = {}
        self._waiting: list[_Request] = []
        self._serving: asyncio.Task[None] | None = None

    def draw_from(
        self,
        model: nn.Module,
        tokenizer: Any,
        within: Callable[[], AbstractContextManager[Any]],
        stepwise: bool = False,
        shows: Shows = unseen,
    ) -> None:
        """Whose weights. within: a context for the forward passes, such as autocast. stepwise: give completions out as they
        finish, and drop those whose requests are cancelled, instead of decoding a batch to its end first. shows: is told how
        many completions of a batch are done."""
        self._sampler, self._within, self._stepwise = HFSampler(model, tokenizer, self.max_rows, shows), within, stepwise

    async def generate(self, ids: Sequence[int], sampling: SamplingSection, seed: int = 0) -> Completion:
        """One completion; what it is depends on the weights, the ids, the sampling settings and the seed alone."""
        if self._sampler is None:
            raise ModelError("the backend 'hf' draws from the model that is trained; it was given none yet")
        request = _Request(tuple(ids), sampling, seed, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve(self._sampler))
        return await request.answer

    def compare_with(self, reference: Reference) -> None:
        """What mixtures are made with."""
        self._reference = reference

    def _drawing(self, sampler: HFSampler, sampling: SamplingSection) -> HFSampler:
        """What draws under these settings: the policy, or its mixture with the reference."""
        share: float | None = getattr(sampling, "mixture", None)
        if share is None:
            return sampler
        if self._reference is None:
            raise ModelError("the backend 'hf' was given no reference to mix with")
        if share not in self._mixtures:
            self._mixtures[share] = HFSampler(Mixture(sampler.model, self._reference, share), sampler.tokenizer, self.max_rows)
        return self._mixtures[share]

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
                await self._decode(self._drawing(sampler, sampling), batch, sampling)
            except Exception as error:  # belongs to those who asked, who may end an episode with it
                for request in batch:
                    if not request.answer.done():
                        request.answer.set_exception(error)

    async def _decode(self, sampler: HFSampler, batch: list[_Request], sampling: SamplingSection) -> None:
        ids, seeds = [request.ids for request in batch], [request.seed for request in batch]
        if not self._stepwise:
            with self._within():
                completions = sampler.generate(ids, sampling, seeds)
            for request, completion in zip(batch, completions, strict=True):
                if not request.answer.done():
                    request.answer.set_result(completion)
            return

        def more() -> list[tuple[tuple[int, ...], int]]:
            arrived = [request for request in self._waiting if request.sampling == sampling]
            self._waiting = [request for request in self._waiting if request.sampling != sampling]
            batch.extend(arrived)
            return [(request.ids, request.seed) for request in arrived]

        stream = sampler.stream(ids, sampling, seeds, lambda index: batch[index].answer.cancelled(), more)
        while True:
            with self._within():
                finished = next(stream, None)
            if finished is None:
                return
            for index, completion in finished:
                if not batch[index].answer.done():
                    batch[index].answer.set_result(completion)
            for _ in range(REACTS if finished else 1):
                await asyncio.sleep(0)

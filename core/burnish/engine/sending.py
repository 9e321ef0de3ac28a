"""Weights for a backend that has a copy of its own, and the proof that it holds them.

In: the trained model, a backend. Out: nothing, or an error that says what differs. Every rank must call it; the first one talks
to the backend.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeVar

from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import nn

from burnish.config.sections import RolloutSection
from burnish.engine.canaries import Answers, Canaries, Scores, apart
from burnish.engine.distributed import on_first
from burnish.engine.export import distinct
from burnish.engine.perturbing import perturbing
from burnish.engine.receipts import PERTURBED, Handshake, Watch, require_receipt, require_versions
from burnish.engine.sharding import whole
from burnish.engine.step import StepRunner
from burnish.errors import ModelError
from burnish.model.outgoing import lone_adapter, outgoing
from burnish.model.scorer import base_of
from burnish.rollout.contract import Backend, Held, Receipt
from burnish.rollout.waiting import finish

SCALES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Sizes of the handshake's perturbation, of which the first that is large enough is taken."""
LARGE = 1.0
"""Nats a token by which it should move the canaries."""
CLEAR = 10
"""How many times as far as backend and trainer are apart anyway it must move them."""

T = TypeVar("T")


@dataclass
class Sender:
    """tells: is given warnings. wait: for the backend's coroutines. sent: the version that the backend holds, by its receipt
    and by its canaries."""

    backend: Backend
    model: nn.Module
    tokenizer: Any
    runner: StepRunner
    section: RolloutSection
    accelerator: Accelerator
    tells: Callable[..., None]
    wait: Callable[[Coroutine[Any, Any, Any]], Any] = finish
    sent: int | None = None

    def send(self, version: int) -> None:
        """Give the backend the weights of `version`, unless it has them; ModelError when it does not hold or use them."""
        if self.sent == version:
            return
        if self.sent is None and self.section.receipts.handshake:
            self._shake_hands(version)
        else:
            self._push(version)
        answers, predicted = self._asked(version, self.canaries.short)
        self._first(lambda: self.watch.look(version, answers, predicted))
        self.sent = version

    @cached_property
    def canaries(self) -> Canaries:
        """Prompts whose answers are compared with the trainer's."""
        temperature = self.section.sampling.temperature
        return Canaries.of(self.tokenizer, base_of(self.model).config, self.backend, temperature, self.runner)

    @cached_property
    def watch(self) -> Watch:
        """Looks at the canaries of every version."""
        return Watch(self.section.receipts, self.tells)

    def _shake_hands(self, version: int) -> None:
        """The true weights, perturbed ones, the true ones again."""
        self._push(version)
        shake = Handshake(*self._asked(version, self.canaries))
        self._first(lambda: shake.require_agreement(self.section.receipts))
        with perturbing(self.runner.roles.policy, self._adapter, self.accelerator.process_index) as put:
            self._perturb(put, shake)
            self._push(PERTURBED)
            other, predicted = self._asked(PERTURBED, self.canaries)
        before = self.canaries.score(other)
        self._first(lambda: shake.require_moved(other, predicted, before))
        self._push(version)
        again, predicted_again = self._asked(version, self.canaries)
        self._first(lambda: shake.require_back(again, predicted_again, self.section.receipts))
        self.watch.floor = shake.floor

    def _perturb(self, put: Callable[[float], None], shake: Handshake) -> None:
        """A perturbation that moves the canaries far enough for a verdict."""
        for scale in SCALES:
            put(scale)
            scores = self.canaries.score(shake.answers)
            far = self._first(partial(apart, scores, shake.predicted))
            if far >= max(LARGE, CLEAR * shake.floor):
                return
        if far <= max(CLEAR * shake.floor, 1e-4):
            raise ModelError(
                f"no handshake: even weights perturbed by {SCALES[-1]} times their size move the canaries by only {far:.2g} "
                f"nats a token, and backend and trainer are {shake.floor:.2g} apart anyway; "
                "`rollout.receipts.handshake: false` goes without"
            )

    def _push(self, version: int) -> None:
        """Send the weights as they are now; ModelError when the receipt is for anything else."""
        main, can = self.accelerator.is_main_process, self.backend.capabilities
        state = whole(distinct(self.model), main, host=self._sharded or not can.on_device)

        def push() -> None:
            out = outgoing(self.model, state, adapters=can.adapters, dtype=can.dtype)
            if out.adapter is None:
                answer = self.backend.update(version, out.weights)
            else:
                answer = self.backend.load_adapter(version, out.weights, out.adapter)  # type: ignore[attr-defined]
            with ThreadPoolExecutor() as pool:  # beside the transfer: hashing waits for no lock of Python's
                sent = {name: pool.submit(Held.of, tensor) for name, tensor in out.weights.items()}
                receipt: Receipt = self.wait(answer)
            require_receipt(receipt, version, {name: one.result() for name, one in sent.items()})

        self._first(push)

    def _asked(self, version: int, canaries: Canaries) -> tuple[Answers, Scores]:
        """What the backend makes of canaries, and what the weights as they are now say of it."""

        def ask() -> Answers:
            answers: Answers = self.wait(canaries.ask(self.backend))
            require_versions(version, answers.versions)
            return answers

        answers = self._first(ask)
        return answers, canaries.score(answers)

    @property
    def _adapter(self) -> str | None:
        """The adapter that is sent alone, None where a whole model is sent."""
        return lone_adapter(self.model) if self.backend.capabilities.adapters else None

    @property
    def _sharded(self) -> bool:
        """Whether no GPU has room for the whole."""
        return self.accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)

    def _first(self, action: Callable[[], T]) -> T:
        return on_first(self.accelerator, action)

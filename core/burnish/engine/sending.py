"""Weights for a backend that has a copy of its own, and the proof that it holds them.

In: the trained model, a backend. Out: nothing, or an error that says what differs. Every rank must call it; the first one talks
to the backend.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from accelerate import Accelerator
from torch import nn

from burnish.engine.distributed import on_first
from burnish.engine.export import distinct
from burnish.engine.sharding import whole
from burnish.errors import ModelError
from burnish.rollout.contract import Backend, Held
from burnish.rollout.waiting import finish


@dataclass
class Sender:
    """wait: for the backend's coroutines. sent: the version that the backend holds, by its receipt."""

    backend: Backend
    model: nn.Module
    accelerator: Accelerator
    wait: Callable[[Coroutine[Any, Any, Any]], Any] = finish
    sent: int | None = None

    def send(self, version: int) -> None:
        """Give the backend the weights of `version`, unless it has them; ModelError when its receipt says otherwise."""
        if self.sent == version:
            return
        weights = whole(distinct(self.model), self.accelerator.is_main_process)

        def send() -> None:
            receipt = self.wait(self.backend.update(version, weights))
            sent = {name: Held.of(tensor) for name, tensor in weights.items()}
            if receipt.version != version or dict(receipt.tensors) != sent:
                wrong = sorted(name for name in {*sent, *receipt.tensors} if sent.get(name) != receipt.tensors.get(name))
                raise ModelError(
                    f"the backend does not hold the weights of step {version}: its receipt is for step {receipt.version}, and "
                    f"{len(wrong)} tensors differ, for example {wrong[:1]}"
                )

        on_first(self.accelerator, send)
        self.sent = version

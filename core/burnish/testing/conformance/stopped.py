"""What a formula holds constant, held constant: so that finite differences see what the gradient sees.

In: a first run, whose detached values are kept. Out: further runs, in which detaching gives those values again. Knows no loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.overrides import TorchFunctionMode

STOPS = frozenset({"detach", "item", "tolist", "__float__", "__int__", "__bool__"})
SWITCH = "_set_grad_enabled"  # what `torch.no_grad()` calls; the insides of autograd functions do not


class StoppedGradients(TorchFunctionMode):
    """Keeps what detaching, and everything under `torch.no_grad()`, gives in a first run; `again()` gives it once more."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[Any] = []
        self._next: int | None = None  # None in the first run
        self._flows = True

    @contextmanager
    def again(self) -> Iterator[None]:
        """A further run of the same code."""
        self._next = 0
        with self:
            yield

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name == SWITCH:
            self._flows = bool(args[0])
        if name == SWITCH or (self._flows and name not in STOPS):
            return func(*args, **(kwargs or {}))
        if self._next is None:
            self._kept.append(func(*args, **(kwargs or {})))
            return self._kept[-1]
        self._next += 1
        return self._kept[self._next - 1]

"""Linear layers for decoding on a CPU: weights laid out once for the few rows that a token has, and used until they change.

In: a model that draws. Out: the same numbers, to float32's rounding, in about half of the time. Where torch has no such product
(another device or precision, a layer that is not a plain one), layers stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, TypeGuard
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn


class PackedLinears:
    """The packed weights of a model's linear layers; as large as the weights, for as long as this lives.

    Several that draw from one model at once share them, and get the same numbers whoever ends first.
    Source: oneDNN's products with a weight in blocked order, which torch has for its own compiler.
    """

    def __init__(self, model: nn.Module) -> None:
        modules = [*model.modules()] if hasattr(torch.ops.mkldnn, "_linear_pointwise") else []
        is_compiled = any(module._compiled_call_impl is not None for module in modules)  # a compiler packs by itself
        with _LOCK:
            self._layers = [_packed(module) for module in modules if not is_compiled and _can(module)]

    @contextmanager
    def used(self) -> Iterator[None]:
        """Within: the layers multiply with packed weights. Weights that have changed are packed again."""
        layers = [] if torch.is_autocast_enabled("cpu") else self._layers
        with _LOCK:
            for layer in layers:
                layer.begin()
        try:
            yield
        finally:
            with _LOCK:
                for layer in layers:
                    layer.end()


class _Packed:
    """A layer and its packed weight. users: of those that draw with it now."""

    def __init__(self, layer: nn.Linear) -> None:
        self.layer, self.users = layer, 0
        self._kept: tuple[Tensor, int, Tensor] | None = None  # one attribute, since threads take turns between any two lines

    def begin(self) -> None:
        self.users += 1
        self.layer.__dict__["forward"] = self.forward

    def end(self) -> None:
        self.users -= 1
        if not self.users:
            del self.layer.__dict__["forward"]

    def forward(self, states: Tensor) -> Tensor:
        """The product with the weight as it is now."""
        weight, kept = self.layer.weight, self._kept
        if kept is None or kept[0] is not weight or kept[1] != weight._version:
            version = weight._version
            kept = self._kept = weight, version, torch.ops.mkldnn._reorder_linear_weight(weight.detach())
        found: Tensor = torch.ops.mkldnn._linear_pointwise(states, kept[2], self.layer.bias, "none", [], "")
        return found


_LOCK = Lock()
_KNOWN: WeakValueDictionary[int, _Packed] = WeakValueDictionary()


def _packed(layer: nn.Linear) -> _Packed:
    """What there is for a layer, or new."""
    found: Any = _KNOWN.get(id(layer))
    if found is None:
        found = _KNOWN[id(layer)] = _Packed(layer)
    return found  # type: ignore[no-any-return]


def _can(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether a layer is a plain one, in float32 on a CPU, that nobody else has changed."""
    if type(module) is not nn.Linear or ("forward" in module.__dict__ and id(module) not in _KNOWN):
        return False
    weight = module.weight
    return type(weight) is nn.Parameter and weight.dtype == torch.float32 and weight.device.type == "cpu"

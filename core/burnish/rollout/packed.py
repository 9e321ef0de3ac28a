"""Linear layers for decoding on a CPU: weights laid out once for the few rows that a token has, and used until they change.

In: a model that draws. Out: the same numbers, to float32's rounding, in about half of the time. Where torch has no such product
(another device or precision, a layer that is not a plain one), layers stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import is_not
from threading import Lock
from typing import Any, TypeGuard
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Names of layers of one module that are given the same states: one product instead of several."""


class PackedLinears:
    """The packed weights of a model's linear layers; as large as the weights, for as long as this lives.

    Several that draw from one model at once share them, and get the same numbers whoever ends first.
    Source: oneDNN's products with a weight in blocked order, which torch has for its own compiler.
    """

    def __init__(self, model: nn.Module) -> None:
        modules = [*model.modules()] if hasattr(torch.ops.mkldnn, "_linear_pointwise") else []
        is_compiled = any(module._compiled_call_impl is not None for module in modules)  # a compiler packs by itself
        with _LOCK:
            self._layers = [] if is_compiled else [_packed(family) for family in _families(modules)]

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
    """Layers that take the same states, and their weights as one packed matrix. users: of those that draw with it now."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        self.layers, self.users = layers, 0
        self._widths = [layer.out_features for layer in layers]
        # Each one attribute, since threads take turns between any two lines.
        self._kept: tuple[list[Tensor], list[int], Tensor] | None = None
        self._last: tuple[Tensor, int, list[Tensor]] | None = None

    def begin(self) -> None:
        self.users += 1
        for place, layer in enumerate(self.layers):
            layer.__dict__["forward"] = partial(self.forward, place)

    def end(self) -> None:
        self.users -= 1
        self._last = None
        if not self.users:
            for layer in self.layers:
                del layer.__dict__["forward"]

    def forward(self, place: int, states: Tensor) -> Tensor:
        """One layer's part of the product with the weights as they are now; what its siblings ask for next is kept."""
        if len(self.layers) == 1:
            return self.product(states)
        last, version = self._last, 0 if states.is_inference() else states._version
        if place == 0 or last is None or last[0] is not states or last[1] != version:
            parts = torch.split(self.product(states), self._widths, -1)
            last = self._last = states, version, [part.contiguous() for part in parts]
        if place == len(self.layers) - 1:
            self._last = None
        return last[2][place]

    def product(self, states: Tensor) -> Tensor:
        """All layers' outputs, side by side."""
        weights: list[Tensor] = [layer.weight for layer in self.layers]
        kept = self._kept
        versions = [weight._version for weight in weights]
        if kept is None or any(map(is_not, kept[0], weights)) or kept[1] != versions:
            whole = torch.cat(weights) if len(weights) > 1 else weights[0]
            packed = torch.ops.mkldnn._reorder_linear_weight(whole.detach())
            kept = self._kept = weights, versions, packed
        biases: list[Tensor] = [layer.bias for layer in self.layers if layer.bias is not None]
        bias = torch.cat(biases) if len(biases) > 1 else biases[0] if biases else None
        found: Tensor = torch.ops.mkldnn._linear_pointwise(states, kept[2], bias, "none", [], "")
        return found


def side_by_side(layers: Sequence[nn.Module], states: Tensor) -> Tensor:
    """The outputs of layers that take the same states, side by side: one product where they are packed as one."""
    packed = _KNOWN.get(id(layers[0]))
    if packed is not None and packed.users and [*packed.layers] == [*layers]:
        return packed.product(states)
    return torch.cat([layer(states) for layer in layers], -1)


_LOCK = Lock()
_KNOWN: WeakValueDictionary[int, _Packed] = WeakValueDictionary()


def _packed(layers: Sequence[nn.Linear]) -> _Packed:
    """What there is for layers, or new."""
    found: Any = _KNOWN.get(id(layers[0]))
    if found is None or [*found.layers] != [*layers]:
        found = _Packed(layers)
        _KNOWN.update({id(layer): found for layer in layers})
    return found  # type: ignore[no-any-return]


def _families(modules: Sequence[nn.Module]) -> list[list[nn.Linear]]:
    """Plain layers; those that are known to take the same states together."""
    families = list[list[nn.Linear]]()
    for parent in modules:
        for names in SIBLINGS:
            children = [parent._modules.get(name) for name in names]
            plain = [child for child in children if child is not None and _can(child)]
            alike = {(layer.in_features, layer.bias is None) for layer in plain}
            if len(plain) == len(names) and len(alike) == 1:
                families.append(plain)
    together = {id(layer) for family in families for layer in family}
    return families + [[module] for module in modules if _can(module) and id(module) not in together]


def _can(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether a layer is a plain one, in float32 on a CPU, that nobody else has changed."""
    if type(module) is not nn.Linear or ("forward" in module.__dict__ and id(module) not in _KNOWN):
        return False
    weight = module.weight
    return type(weight) is nn.Parameter and weight.dtype == torch.float32 and weight.device.type == "cpu"

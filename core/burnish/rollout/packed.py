"""Linear layers for decoding on a CPU: weights laid out once for the few rows that a token has, and used until they change.

In: a model that draws. Out: the same numbers, to float32's rounding, in about half of the time. Where torch has no such product
(another device or precision, a layer that is not a plain one), layers stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn


class PackedLinears:
    """The packed weights of a model's linear layers; as large as the weights, for as long as this lives.

    Source: oneDNN's products with a weight in blocked order, which torch has for its own compiler.
    """

    def __init__(self, model: nn.Module) -> None:
        modules = [*model.modules()] if _known() else []
        is_compiled = any(module._compiled_call_impl is not None for module in modules)  # a compiler packs by itself
        self._layers = [module for module in modules if not is_compiled and _can(module)]
        self._versions: list[int] = []
        self._forwards: list[Callable[[Tensor], Tensor]] = []

    @contextmanager
    def used(self) -> Iterator[None]:
        """Within: the layers multiply with packed weights. Weights that were changed in place since are packed again."""
        if torch.is_autocast_enabled("cpu"):
            yield
            return
        versions = [layer.weight._version for layer in self._layers]
        if versions != self._versions:
            self._forwards = [_forward(layer) for layer in self._layers]
            self._versions = versions
        for layer, forward in zip(self._layers, self._forwards, strict=True):
            layer.__dict__["forward"] = forward
        try:
            yield
        finally:
            for layer in self._layers:
                layer.__dict__.pop("forward", None)  # gone where another thread that draws from the model ended first


def _known() -> bool:
    """Whether this torch has the operators."""
    return hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _can(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether a layer is a plain one, in float32 on a CPU, that nothing has changed."""
    if type(module) is not nn.Linear or "forward" in module.__dict__:
        return False
    weight = module.weight
    return type(weight) is nn.Parameter and weight.dtype == torch.float32 and weight.device.type == "cpu"


def _forward(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    packed: Any = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach())
    return partial(_product, packed, layer.bias)


def _product(packed: Tensor, bias: Tensor | None, states: Tensor) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(states, packed, bias, "none", [], "")
    return found

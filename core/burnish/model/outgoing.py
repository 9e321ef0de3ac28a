"""Weights as somebody else loads them: adapters merged into their base under its own names, or one adapter alone.

In: a model, and its whole state by name (tensors that no rank shares). Out: tensors by name. Changes nothing of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from burnish.errors import ModelError
from burnish.model.adapters import active_adapters, has_adapter
from burnish.model.peft_without_hub import AuxiliaryTrainingWrapper, BaseTunerLayer, LoraLayer

PREFIX = "base_model.model."


@dataclass(frozen=True, eq=False)
class Outgoing:
    """Tensors by name, where those of the state lie. adapter: PEFT's config where they are an adapter alone, None where they
    are a model."""

    weights: Mapping[str, Tensor]
    adapter: Mapping[str, Any] | None = field(default=None)


def outgoing(model: nn.Module, state: Mapping[str, Tensor], *, adapters: bool = False, dtype: str | None = None) -> Outgoing:
    """What to send of `model`. state: its whole state. adapters: whether the adapter alone will do; dtype: as which it is held.

    ModelError for adapters that can neither be sent nor merged.
    """
    name = lone_adapter(model) if adapters else None
    if name is not None:
        weights, config = _adapter(state, name), _config(model, name)
    else:
        weights, config = merged(model, state) if has_adapter(model) else dict(state), None
    if dtype is not None:
        held: torch.dtype = getattr(torch, dtype)
        weights = {key: tensor.to(held) if tensor.is_floating_point() else tensor for key, tensor in weights.items()}
    return Outgoing(weights, config)


def lone_adapter(model: nn.Module) -> str | None:
    """The adapter that makes the model out of its base, where it is plain LoRA and the only active one; else None."""
    active = active_adapters(model)
    if len(active) != 1 or not has_adapter(model):
        return None
    [name] = active
    for module in model.modules():
        if isinstance(module, AuxiliaryTrainingWrapper) and name in module.active_adapters:
            return None
        if isinstance(module, BaseTunerLayer) and (not isinstance(module, LoraLayer) or _is_special(module, name)):
            return None
    return name


def merged(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of a PEFT model with its active adapters added to the weights that they adapt, under the base's names."""
    result: dict[str, Tensor] = {}
    deltas = _deltas(model, state)
    for name, tensor in state.items():
        plain = name.removeprefix(PREFIX)
        path, _, rest = plain.partition(".modules_to_save.")
        if rest:
            adapter, _, leaf = rest.partition(".")
            if adapter in active_adapters(model):
                result[f"{path}.{leaf}"] = tensor
        elif ".original_module." in plain:
            result.setdefault(plain.replace(".original_module.", "."), tensor)
        elif "lora_" not in plain:
            if not tensor.is_floating_point():
                raise ModelError(f"'{plain}' is quantised, so nothing can be merged into it; use a backend that loads adapters")
            result[plain.replace(".base_layer.", ".")] = _plus(tensor, deltas.get(name))
    return result


def _deltas(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What adapters add, float32, by the name of the weight that they add it to."""
    found: dict[str, Tensor] = {}
    for path, layer in model.named_modules():
        if not isinstance(layer, BaseTunerLayer):
            continue
        for name in layer.active_adapters:
            if not isinstance(layer, LoraLayer) or _is_special(layer, name, embeddings=True):
                raise ModelError(f"the adapter '{name}' of '{path}' is more than plain LoRA: it cannot be merged to be sent")
            delta = _delta(layer, path, name, state)
            if delta is not None:
                target = f"{path}.base_layer.weight"
                found[target] = found[target] + delta if target in found else delta
    return found


def _delta(layer: LoraLayer, path: str, name: str, state: Mapping[str, Tensor]) -> Tensor | None:
    embedding = f"{path}.lora_embedding_A.{name}" in state
    keys = [f"{path}.lora_{'embedding_' * embedding}{side}.{name}{'' if embedding else '.weight'}" for side in "BA"]
    if not all(key in state for key in keys):
        return None
    left, right = (state[key].float() for key in keys)
    product: Tensor = left @ right * layer.scaling[name]
    return product.T if embedding or getattr(layer, "fan_in_fan_out", False) else product


def _plus(tensor: Tensor, delta: Tensor | None) -> Tensor:
    return tensor if delta is None else (tensor.float() + delta).to(tensor.dtype)


def _is_special(layer: LoraLayer, name: str, *, embeddings: bool = False) -> bool:
    """Whether a layer does more than add a product of two matrices. embeddings: whether those may be its factors."""
    in_bias = any(getattr(part[name], "bias", None) is not None for part in (layer.lora_A, layer.lora_B) if name in part)
    deep = any(part[name].weight.dim() > 2 for part in (layer.lora_A, layer.lora_B) if name in part)
    dora = name in getattr(layer, "lora_magnitude_vector", {})
    variant = name in getattr(layer, "lora_variant", {})
    return in_bias or deep or dora or variant or (not embeddings and name in layer.lora_embedding_A)


def _adapter(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """An adapter's tensors under the names that PEFT saves them by."""
    return {key.replace(f".{name}.", "."): tensor for key, tensor in state.items() if "lora_" in key and f".{name}." in key}


def _config(model: nn.Module, name: str) -> dict[str, Any]:
    """What PEFT writes to `adapter_config.json`."""
    configs: Any = next(module.peft_config for module in model.modules() if hasattr(module, "peft_config"))
    values: dict[str, Any] = configs[name].to_dict()
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in values.items()}
    return {**plain, "inference_mode": True}

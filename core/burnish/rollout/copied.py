"""The backend `hf_copy`: a copy of the trained model in this process, so that it can draw while the other moves.

In: requests, and weights when they have moved. Out: completions, and proof of what the copy holds. It is made of the trained
model's class and config, and of the first weights that it is given: adapters are merged into them, shards put together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from burnish.errors import ConfigError, ModelError, did_you_mean
from burnish.model.scorer import base_of
from burnish.rollout.contract import Capabilities, Receipt
from burnish.rollout.local import LocalBackend
from burnish.rollout.sampler import Completion

if TYPE_CHECKING:
    from burnish.config.sections import SamplingSection


class CopiedBackend:
    """Completions from a copy of the trained model.

    device: where it is, such as cpu or cuda:1; None for the trained model's own. max_rows: requests decoded at once.
    """

    capabilities = Capabilities(likeliest=True)

    def __init__(self, *, device: str | None = None, max_rows: int = 64) -> None:
        self.device = None if device is None else device_here(device)
        self._drawing = LocalBackend(max_rows=max_rows)
        self._copy: nn.Module | None = None
        self._begin: Callable[[Mapping[str, Tensor]], nn.Module] | None = None

    def draw_like(self, model: nn.Module, tokenizer: Any, within: Callable[[], AbstractContextManager[Any]]) -> None:
        """What is copied, once there are weights. within: a context for the forward passes, such as autocast."""

        def begin(weights: Mapping[str, Tensor]) -> nn.Module:
            copy = copy_of(base_of(model), weights, self.device)
            self._drawing.draw_from(copy, tokenizer, within, stepwise=True)
            return copy

        self._begin = begin

    async def generate(self, ids: Sequence[int], sampling: SamplingSection, seed: int = 0) -> Completion:
        """One completion; the event loop goes on between two tokens."""
        return await self._drawing.generate(ids, sampling, seed)

    async def update(self, version: int, weights: Mapping[str, Tensor]) -> Receipt:
        """Load them."""
        if self._begin is None:
            raise ModelError("the backend 'hf_copy' draws with a copy of the model that is trained; it was given none yet")
        if self._copy is None:
            self._copy = self._begin(weights)
        else:
            await asyncio.to_thread(self._copy.load_state_dict, weights, strict=False)
        held = self._copy.state_dict()
        return Receipt.of(version, {name: held[name] for name in weights if name in held})

    async def close(self) -> None:
        """Give the copy's memory back."""
        await self._drawing.close()
        del self._drawing, self._copy


def device_here(name: str) -> torch.device:
    """The device of that name. ConfigError where this machine has none that a model could be on."""
    kind = torch.accelerator.current_accelerator(check_available=True)
    others = [] if kind is None else [f"{kind.type}:{index}" for index in range(torch.accelerator.device_count())]
    if name not in ("cpu", *others, *([kind.type] if kind is not None else [])):
        raise ConfigError(
            f"rollout.backend.hf_copy.device: this machine has no device '{name}'. {did_you_mean(str(name), ['cpu', *others])}"
        )
    return torch.device(name)


def copy_of(model: Any, weights: Mapping[str, Tensor], device: torch.device | None = None) -> nn.Module:
    """A model of the same class and config as `model`, with these weights; what no weight stands for (tables of positions) is
    taken from `model`. ModelError where weights are missing."""
    place = next(model.parameters()).device if device is None else device
    with torch.device("meta"):
        copy: Any = type(model)(deepcopy(model.config))
    own = {name: tensor.detach().to(place, copy=True) for name, tensor in weights.items()}
    copy.load_state_dict(own, strict=False, assign=True)
    copy.tie_weights()
    for name, buffer in copy.named_buffers():
        if buffer.is_meta:
            path, _, leaf = name.rpartition(".")
            setattr(copy.get_submodule(path), leaf, model.get_buffer(name).to(place, copy=True))
    if missing := [name for name, parameter in copy.named_parameters() if parameter.is_meta]:
        raise ModelError(f"{type(model).__name__} cannot be copied: {len(missing)} of its weights are missing: {missing[0]}")
    copy.generation_config = deepcopy(model.generation_config)
    frozen: nn.Module = copy.requires_grad_(False).eval()
    return frozen

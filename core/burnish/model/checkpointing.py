"""What layers keep for the backward pass: everything, only their inputs, or what was dear to compute; and where it waits.

In: a model of transformers' layers. Out: the same numbers and gradients for less memory. Knows no loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.attention.varlen  # makes its operation known
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

from burnish.model.scorer import base_of

aten = torch.ops.aten
# Matrix products and attention: what takes time. All else is computed again.
KEPT = frozenset(
    {
        aten.mm.default,
        aten.addmm.default,
        aten.bmm.default,
        aten.baddbmm.default,
        aten._scaled_dot_product_flash_attention_for_cpu.default,
        aten._scaled_dot_product_flash_attention.default,
        aten._scaled_dot_product_efficient_attention.default,
        aten._scaled_dot_product_cudnn_attention.default,
        aten._flash_attention_forward.default,
        torch.ops.torch_attn._varlen_attn.default,
    }
)
# Smaller tensors cost more to move than they take.
WORTH_MOVING = 2**20


def checkpoint_layers(model: nn.Module, how: bool | Literal["selective"]) -> None:
    """Let every layer compute activations again in the backward pass: all, or all but products and attention."""
    if not how:
        return
    options: dict[str, Any] = {"use_reentrant": False}
    if how == "selective":
        options["context_fn"] = partial(create_selective_checkpoint_contexts, _policy)
    base = base_of(model)
    # Its name since transformers 5.23; the older one warns there.
    enable = getattr(base, "activation_checkpointing_enable", None) or base.gradient_checkpointing_enable
    enable(options)


def _policy(context: Any, operation: Any, *arguments: Any, **keywords: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if operation in KEPT else CheckpointPolicy.PREFER_RECOMPUTE


@contextmanager
def offloaded(weights: Iterable[Tensor], device: torch.device, smallest_bytes: int = WORTH_MOVING) -> Iterator[None]:
    """Within it, what a forward on `device` keeps for its backward waits in the host's memory, weights excepted."""
    stay = {weight.untyped_storage()._cdata for weight in weights}

    def pack(tensor: Tensor) -> tuple[Tensor, bool]:
        elsewhere = tensor.device.type != device.type
        stays = tensor.nbytes < smallest_bytes or elsewhere or tensor.untyped_storage()._cdata in stay
        if stays:
            return tensor, False
        host = torch.empty_like(tensor, device="cpu", pin_memory=device.type == "cuda")
        return host.copy_(tensor, non_blocking=True), True

    def unpack(packed: tuple[Tensor, bool]) -> Tensor:
        tensor, was_moved = packed
        return tensor.to(device, non_blocking=True) if was_moved else tensor

    with saved_tensors_hooks(pack, unpack):
        yield

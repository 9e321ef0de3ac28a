"""Hashes of weights: the identity of a frozen model, whatever file or wrapper it came in.

In: a module. Out: a hex digest. An adapter that changes nothing yet is left out: the model is its base.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import chain

import torch
import xxhash
from torch import Tensor, nn

from burnish.model.adapters import active_adapters, is_fresh


def weights_hash(model: nn.Module, *, base: bool = False) -> str:
    """Digest of names, dtypes, shapes and bytes of all weights; with `base` of those below the adapters alone."""
    digest = hashlib.blake2b(digest_size=16)
    weights = _base_weights(model)
    if not base and not is_fresh(model):
        digest.update(f"adapters {active_adapters(model)}|".encode())
        weights = chain(model.named_parameters(), model.named_buffers())
    for name, tensor in sorted(weights, key=lambda item: item[0]):
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def tensor_hash(tensor: Tensor) -> str:
    """Digest of a tensor's bytes, for telling accidents: XXH3 with 128 bits, as fast as memory is read."""
    return xxhash.xxh3_128_hexdigest(_bytes(tensor))


def _bytes(tensor: Tensor) -> memoryview:
    return memoryview(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)


def _base_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Weights under the names that they have without PEFT."""
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if "lora_" in name or ".modules_to_save." in name:
            continue
        plain = name.removeprefix("base_model.model.").replace(".base_layer.", ".").replace(".original_module.", ".")
        yield plain, tensor

"""Trees of plain values and tensors, to JSON and safetensors and back, exactly; nothing is ever unpickled.

In: nested dicts, lists, tuples, strings, numbers, None, tensors, numpy arrays. Out: the same. Knows nothing of models or runs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from burnish.errors import RunError

TENSOR, ARRAY, TUPLE = "$tensor", "$array", "$tuple"


def save_tree(tree: Any, stem: Path) -> None:
    """Write `tree` as STEM.json and, for its tensors, STEM.safetensors."""
    tensors: dict[str, Tensor] = {}
    document = _encode(tree, "", tensors)
    stem.with_suffix(".json").write_text(json.dumps(document))
    save_file(tensors, stem.with_suffix(".safetensors"))


def load_tree(stem: Path) -> Any:
    """What `save_tree` wrote; tensors come back on the CPU."""
    return _decode(json.loads(stem.with_suffix(".json").read_text()), load_file(stem.with_suffix(".safetensors")))


def load_plain(stem: Path, key: str) -> Any:
    """What `save_tree` wrote under `key` of a dict, where that holds no tensors; the others' are not read."""
    return _decode(json.loads(stem.with_suffix(".json").read_text())[key], {})


def _encode(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        # A copy: safetensors refuses views, and tensors that share memory.
        tensors[path] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {TENSOR: path}
    if isinstance(value, np.ndarray):
        return {ARRAY: value.tolist(), "dtype": value.dtype.str}
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise RunError(f"state at '{path}' has keys that are not text: {sorted(map(repr, value))}")
        return {key: _encode(item, f"{path}/{key}", tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_encode(item, f"{path}/{index}", tensors) for index, item in enumerate(value)]
        return {TUPLE: items} if isinstance(value, tuple) else items
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise RunError(f"state at '{path}' is a {type(value).__name__}; a checkpoint holds tensors, numbers, text, lists and dicts")


def _decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if TENSOR in value:
        return tensors[value[TENSOR]]
    if ARRAY in value:
        return np.array(value[ARRAY], dtype=value["dtype"])
    if TUPLE in value:
        return tuple(_decode(item, tensors) for item in value[TUPLE])
    return {key: _decode(item, tensors) for key, item in value.items()}

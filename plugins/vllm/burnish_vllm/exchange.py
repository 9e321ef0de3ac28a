"""The folder through which weights go: what the trainer writes, what a worker reads, and the receipt that it leaves.

In: tensors by name. Out: one safetensors file per version, or one folder of an adapter, and one JSON file per worker that has
loaded it. Used in both environments, so it imports neither burnish nor vLLM.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import xxhash
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

TRANSFER = "burnish_file"
"""The name that vLLM knows the way of transfer by."""
ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
SHOW = "burnish_adapter"
"""What workers are asked by for a receipt of the adapter that they hold."""


def write_weights(folder: Path, name: str, weights: Mapping[str, Tensor]) -> Path:
    """A file of these tensors, whole or absent."""
    path, beside = folder / f"{name}.safetensors", folder / f".{name}.part"
    save_file({key: tensor.detach().contiguous() for key, tensor in weights.items()}, beside)
    beside.rename(path)
    return path


def write_adapter(folder: Path, name: str, weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> Path:
    """A folder as PEFT saves one adapter, whole or absent."""
    path, beside = folder / name, folder / f".{name}.part"
    beside.mkdir()
    (beside / ADAPTER_CONFIG).write_text(json.dumps(dict(config), default=str))
    save_file({key: tensor.detach().contiguous() for key, tensor in weights.items()}, beside / ADAPTER)
    beside.rename(path)
    return path


def read_weights(path: Path) -> Generator[tuple[str, Tensor], None, None]:
    """The file's tensors, one at a time."""
    with safe_open(path, framework="pt", device="cpu") as file:
        for name in file.keys():  # noqa: SIM118 - not a mapping
            yield name, file.get_tensor(name)


def noted(weights: Iterator[tuple[str, Tensor]], seen: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """The same weights; each that was handed over is in `seen` at the end, hashed beside the loading."""
    with ThreadPoolExecutor() as pool:
        hashed = {}
        for name, tensor in weights:
            hashed[name] = pool.submit(held, tensor.cpu())
            yield name, tensor
        seen.update({name: one.result() for name, one in hashed.items()})


def held(tensor: Tensor) -> dict[str, Any]:
    """Shape, dtype and hash of the bytes, as burnish's receipts have them."""
    data = tensor.contiguous().flatten().view(torch.uint8).numpy().data
    return {
        "shape": list(tensor.shape),
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "hash": xxhash.xxh3_128_hexdigest(data),
    }


def receipt_of(tensors: Mapping[str, Any], dtype: str, missing: list[str]) -> dict[str, Any]:
    """What one worker has loaded. dtype: of its model; missing: what it holds and was not sent."""
    return {"tensors": dict(tensors), "dtype": dtype, "missing": missing}


def write_receipt(folder: Path, receipt: Mapping[str, Any]) -> None:
    """Leave a worker's receipt in a folder, whole or absent."""
    folder.mkdir(parents=True, exist_ok=True)
    path, beside = folder / f"{os.getpid()}.json", folder / f".{os.getpid()}.part"
    beside.write_text(json.dumps(receipt))
    beside.rename(path)


def read_receipts(folder: Path) -> list[dict[str, Any]]:
    """What the workers have left there."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]

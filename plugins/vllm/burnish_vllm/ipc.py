"""A way for weights from the trainer to workers on its own GPUs: memory that it lends, which they copy from (CUDA's IPC).

In: tensors by name at the trainer. Out: chunks of them in GPU memory, each described as vLLM's own `ipc` engine has it, but for
the handles: vLLM pickles those for HTTP, and takes them only where it may run what anybody sends it as code. Here they are
JSON, of which a worker uses lengths, offsets and CUDA's own ids. Used in both environments, so it imports neither burnish nor
vLLM.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import Tensor
from torch.multiprocessing.reductions import reduce_tensor

CHUNK = 2**30
"""Bytes that are lent at a time, more only where a single tensor has more."""


def is_here(url: str) -> bool:
    """Whether a server's address is one of this machine alone: a socket, or the loopback."""
    host = urlsplit(url).hostname
    if host is None or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def own_gpus() -> dict[str, torch.device]:
    """The GPUs that this process sees, by the id that every process knows them by."""
    devices = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    return {gpu_of(device): device for device in devices}


def gpu_of(device: torch.device) -> str:
    """The id that every process knows a GPU by; empty where it is none."""
    return str(torch.cuda.get_device_properties(device).uuid) if device.type == "cuda" else ""


def lent(
    weights: Iterable[tuple[str, Tensor]], gpus: Mapping[str, torch.device], limit: int = CHUNK
) -> Iterator[dict[str, Any]]:
    """The tensors, a chunk at a time, in memory of each of the GPUs. `more` of a chunk: whether another one follows. The next
    one takes its place, so the workers must have their copies when it is asked for."""
    chunks = _chunks(weights, limit)
    room = max(1, *(sum(tensor.nbytes for _, tensor in chunk) for chunk in chunks))
    buffers = {gpu: torch.empty(room, dtype=torch.uint8, device=device) for gpu, device in gpus.items()}
    handles = {gpu: handle_of(buffer) for gpu, buffer in buffers.items()}
    for number, chunk in enumerate(chunks, 1):
        chunk.sort(key=lambda one: -one[1].element_size())  # so each begins where its dtype may, with none of them padded
        for buffer in buffers.values():
            place = 0
            for _, tensor in chunk:
                buffer[place : place + tensor.nbytes].copy_(tensor.contiguous().view(-1).view(torch.uint8))
                place += tensor.nbytes
            if buffer.is_cuda:
                torch.cuda.synchronize(buffer.device)  # what is only under way, the workers would not see
        yield {
            "names": [name for name, _ in chunk],
            "dtype_names": [str(tensor.dtype).removeprefix("torch.") for _, tensor in chunk],
            "shapes": [list(tensor.shape) for _, tensor in chunk],
            "tensor_sizes": [tensor.nbytes for _, tensor in chunk],
            "ipc_handles": handles,
            "more": number < len(chunks),
        }


def _chunks(weights: Iterable[tuple[str, Tensor]], limit: int) -> list[list[tuple[str, Tensor]]]:
    chunks: list[list[tuple[str, Tensor]]] = [[]]
    size = 0
    for name, tensor in weights:
        if chunks[-1] and size + tensor.nbytes > limit:
            chunks.append([])
            size = 0
        chunks[-1].append((name, tensor))
        size += tensor.nbytes
    return chunks


def taken_back() -> None:
    """Memory that was lent can be used again where the workers have let go of it."""
    torch.cuda.ipc_collect()  # type: ignore[no-untyped-call]


def handle_of(buffer: Tensor) -> list[Any]:
    """What another process needs to see these bytes, as JSON has it: those of torch's own arguments that differ."""
    _, arguments = reduce_tensor(buffer)  # type: ignore[no-untyped-call]
    _, [size], _, offset, _, _, device, *rest = arguments
    return [one.hex() if isinstance(one, bytes) else one for one in (size, offset, device, *rest)]


def arguments_of(handle: list[Any]) -> tuple[Any, ...]:
    """The arguments from which torch rebuilds those bytes; nothing of them is code.

    TypeError or ValueError where it is no handle.
    """
    size, offset, device, memory, bytes_there, begins, _, counter, counted, event, waits = handle
    ids = [bytes.fromhex(one) for one in (memory, counter, event)]
    numbers = [int(one) for one in (size, offset, device, bytes_there, begins, counted)]
    size, offset, device, bytes_there, begins, counted = numbers
    return (
        *(torch.Tensor, (size,), (1,), offset, torch.storage.TypedStorage, torch.uint8),
        *(device, ids[0], bytes_there, begins, False, ids[1], counted, ids[2], bool(waits)),
    )

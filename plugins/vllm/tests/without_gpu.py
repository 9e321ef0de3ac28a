"""What CUDA does for the transfer `ipc`, done with the host's memory: a handle names a file of the process that lends. All
else, vLLM's own reading of chunks included, is as on a GPU.

vLLM calls `register` in each of its processes when the tests have installed it as a plugin.
"""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

GPU = "GPU-played-by-the-host"


def reduce_tensor(buffer: Tensor) -> tuple[None, tuple[Any, ...]]:
    """In the form that torch gives memory of a GPU."""
    file, size = buffer.untyped_storage()._share_fd_cpu_()
    memory = f"/proc/{os.getpid()}/fd/{file}".encode()
    there = (0, memory, size, 0, False, b"counter", 0, b"event", False)
    return None, (Tensor, buffer.size(), buffer.stride(), 0, torch.storage.TypedStorage, buffer.dtype, *there)


def rebuild_cuda_tensor(*given: Any) -> Tensor:
    """The same bytes, not a copy."""
    kind, [size], stride, offset, storage, dtype, _, memory, there, begins, gradient, counter, counted, event, waits = given
    assert (kind, stride, offset, storage, dtype) == (Tensor, (1,), 0, torch.storage.TypedStorage, torch.uint8)
    assert (begins, gradient, counter, counted, event, waits) == (0, False, b"counter", 0, b"event", False)
    assert size <= there
    return torch.from_file(memory.decode(), shared=True, size=size, dtype=torch.uint8)


def register() -> None:
    """In vLLM's processes: the GPU that is played, and its memory."""
    import burnish_vllm.ipc
    import torch.multiprocessing.reductions

    torch.cuda.get_device_properties = lambda _: SimpleNamespace(uuid=GPU)  # type: ignore[assignment, return-value]
    torch.multiprocessing.reductions.rebuild_cuda_tensor = rebuild_cuda_tensor
    burnish_vllm.ipc.gpu_of = lambda _: GPU

"""Weights in memory that the trainer lends, with the host's memory in place of a GPU's: what is sent, taken and refused."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

import pytest
import torch
from burnish_vllm.backend import VLLM
from burnish_vllm.colocated import Colocated
from burnish_vllm.ipc import arguments_of, is_here, lent
from conftest import LENT, Start, assert_weights_follow, weights_of
from torch import Tensor
from without_gpu import GPU, rebuild_cuda_tensor

from burnish.config.sections import SamplingSection
from burnish.errors import ConfigError, ModelError
from burnish.rollout.contract import Receipt

SAMPLING = SamplingSection(max_new_tokens=5, temperature=1.0)


def backend_of(*servers: Any) -> VLLM:
    return VLLM(servers=[server.url for server in servers], dtype="float32", transfer="ipc", patience=5.0)


def read(chunk: dict[str, Any]) -> dict[str, Tensor]:
    """What a worker sees there, after JSON."""
    chunk = json.loads(json.dumps(chunk))
    memory = rebuild_cuda_tensor(*arguments_of(chunk["ipc_handles"][GPU]))
    parts = memory[: sum(chunk["tensor_sizes"])].split(chunk["tensor_sizes"])
    described = zip(chunk["names"], chunk["dtype_names"], chunk["shapes"], parts, strict=True)
    return {name: part.view(getattr(torch, dtype)).view(shape).clone() for name, dtype, shape, part in described}


def test_chunks_hold_what_was_lent(played: None) -> None:
    """Of every dtype, each beginning where its elements may; in memory that is used again, so read before the next one."""
    weights = {
        "bytes": torch.arange(5, dtype=torch.uint8),  # 5 bytes
        "halves": torch.randn(3, 1).bfloat16(),  # 6 bytes
        "number": torch.tensor(2.5, dtype=torch.float64),  # 8 bytes, in all 19
        "wide": torch.randn(2, 3).T,  # 24 bytes, more than a chunk
        "none": torch.empty(0, 4),
        "last": torch.tensor([True, False]),
    }
    seen: dict[str, Tensor] = {}
    sizes, more, handles = [], [], []
    for chunk in lent(weights.items(), {GPU: torch.device("cpu")}, limit=20):
        seen |= read(chunk)
        sizes.append(chunk["tensor_sizes"])
        more.append(chunk["more"])
        handles.append(chunk["ipc_handles"])
    assert sizes == [[8, 6, 5], [24], [0, 2]]
    assert more == [True, True, False]
    assert handles[0] == handles[1] == handles[2]  # exported once: workers count how often they let go of it
    assert set(seen) == set(weights)
    for name, tensor in weights.items():
        assert (seen[name].dtype, seen[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(seen[name], tensor)


def test_a_handle_holds_no_code() -> None:
    handle = [4, 0, 0, "00ff", 4, 0, False, "01", 0, "", False]
    cls, _, _, _, storage, dtype, *rest = arguments_of(handle)
    assert (cls, storage, dtype) == (Tensor, torch.storage.TypedStorage, torch.uint8)
    assert rest == [0, b"\x00\xff", 4, 0, False, b"\x01", 0, b"", False]
    for place, wrong in ((3, "exec"), (3, ["00"]), (0, "four"), (8, {})):
        with pytest.raises((TypeError, ValueError)):
            arguments_of([*handle[:place], wrong, *handle[place + 1 :]])


def test_weights_are_lent(start: Start, played: None) -> None:
    """To two servers, one of which is started again: it is asked anew for its GPU. In several chunks, under one receipt."""
    first, second = assert_weights_follow(start, backend_of)
    assert first.asked["/init_weight_transfer_engine"] == 1
    assert second.asked["/update_weights"] > second.asked["/start_weight_update"] == second.asked["/finish_weight_update"] == 2


def test_the_trainers_own_tensors_are_lent(start: Start, played: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are asked for where they lie; nobody reads the file, which is for servers that come back."""
    monkeypatch.setattr("burnish_vllm.server.read_weights", lambda _: pytest.fail("the file was read"))
    backend, weights = backend_of(start()), weights_of(1)
    assert backend.capabilities.on_device
    assert not VLLM(transfer="gloo").capabilities.on_device

    async def session() -> None:
        assert await backend.update(0, weights) == Receipt.of(0, weights)
        await backend.close()

    asyncio.run(session())


def test_what_is_lent_and_the_server_does_not_know(start: Start, played: None) -> None:
    """It is refused in the middle; of what came before nothing counts for the next update."""
    server = start()
    backend, weights = backend_of(server), weights_of(1)
    half = dict(list(weights_of(2).items())[:2])

    async def session() -> None:
        with pytest.raises(ModelError, match="no module or parameter named 'strange'"):
            await backend.update(0, {**weights, "strange": torch.zeros(LENT)})
        assert server.version == "failed"
        with pytest.raises(ModelError, match="parameters were not in what was sent"):
            await backend.update(1, half)
        assert await backend.update(2, weights) == Receipt.of(2, weights)
        await backend.close()

    asyncio.run(session())


@pytest.mark.parametrize(("gpu", "said"), [("", "a worker on a CPU"), ("GPU-other", "a worker on the GPU GPU-other")])
def test_a_server_that_is_not_on_these_gpus(start: Start, played: None, gpu: str, said: str) -> None:
    """Which a tunnel from this machine to another one hides from everybody else."""
    server = start()
    server.gpu = gpu
    with pytest.raises(ModelError, match=rf"{said}; `ipc` lends .* that sees {GPU} .*: use `nccl` or `file`"):
        asyncio.run(backend_of(server).update(0, weights_of(1)))
    assert server.asked["/start_weight_update"] == 0


def test_a_worker_that_does_not_say_where_it_is(start: Start, played: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fake_vllm.write_receipt", lambda *_: None)
    with pytest.raises(ModelError, match="has 1 workers, of which 0 say on which GPU they are"):
        asyncio.run(backend_of(start()).update(0, weights_of(1)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here, which can lend")
def test_without_a_gpu_nothing_is_lent() -> None:
    said = r"\.transfer: `ipc` takes weights from a GPU, and there is none; use `file`"
    for name, make in (("vllm", VLLM), ("vllm_colocated", partial(Colocated, model="tiny", sleep=False))):
        with pytest.raises(ConfigError, match=rf"rollout\.backend\.{name}{said}"):
            make(transfer="ipc")


def test_nothing_is_lent_elsewhere(played: None) -> None:
    with pytest.raises(ConfigError, match=r"http://10\.0\.0\.7:8000 may be another machine; use `nccl` or `file`"):
        VLLM(servers=["http://127.0.0.1:8000", "http://10.0.0.7:8000"], transfer="ipc")


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("unix:/tmp/socket", True),
        ("http://localhost:8000", True),
        ("http://127.0.0.2:8000", True),
        ("http://[::1]:8000", True),
        ("http://192.168.0.1:8000", False),
        ("http://0.0.0.0:8000", False),
        ("http://localhost.example.org:8000", False),
    ],
)
def test_addresses_of_this_machine(url: str, here: bool) -> None:
    assert is_here(url) is here

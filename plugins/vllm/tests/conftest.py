"""A model small enough for everybody, with heads that vLLM's kernels know, and servers of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from burnish_vllm.backend import VLLM
from burnish_vllm.ipc import lent
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn
from transformers import PreTrainedModel

from burnish.config.sections import SamplingSection
from burnish.engine.export import distinct
from burnish.rollout.contract import Receipt
from burnish.rollout.sampler import Completion
from burnish.testing import tiny_model, tiny_tokenizer

sys.path.insert(0, str(Path(__file__).parent))  # the fake server lies here

from fake_vllm import FakeVLLM
from without_gpu import GPU, reduce_tensor

LENT = 20_000  # bytes that are lent at a time: the tiny model takes several chunks
Start = Callable[..., FakeVLLM]


def make_model(seed: int = 0) -> PreTrainedModel:
    return tiny_model(
        seed=seed,
        hidden_size=64,
        intermediate_size=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        initializer_range=0.2,
    )


def weights_of(seed: int) -> dict[str, Tensor]:
    """As a run sends them: whole, each tensor under one name."""
    return {name: tensor.detach() for name, tensor in distinct(make_model(seed)).items()}


def adapter_of(seed: int) -> tuple[dict[str, Tensor], dict[str, Any], nn.Module]:
    """As a run sends one: LoRA on queries and values, its factors drawn; its config; and the model that they make."""
    config = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
    adapted = get_peft_model(make_model(), LoraConfig(**config))
    draw = torch.Generator().manual_seed(seed)
    weights = {
        name: torch.randn(one.shape, generator=draw) / 4 for name, one in get_peft_model_state_dict(adapted).items()
    }
    set_peft_model_state_dict(adapted, weights)
    return weights, config, adapted


def assert_weights_follow(start: Start, backend_of: Callable[..., VLLM]) -> tuple[FakeVLLM, FakeVLLM]:
    """What two servers are sent they hold and draw from, and one of them, started again, is brought up to it; the two."""
    first, second = start(), start()
    backend, weights, sampling = backend_of(first, second), weights_of(3), SamplingSection(max_new_tokens=5, temperature=1.0)

    async def drawn() -> list[Completion]:
        return [await backend.generate([1, 2, 3], sampling, seed=7) for _ in range(2)]

    async def session() -> None:
        for version, seed in ((0, 1), (1, 3)):
            assert await backend.update(version, weights_of(seed)) == Receipt.of(version, weights_of(seed))
        before = await drawn()
        first.stop()
        again = start(first.port)
        after = await drawn()
        assert before == after == [after[0]] * 2
        held_there = again.model.state_dict()
        assert all(torch.equal(held_there[name], tensor) for name, tensor in weights.items())
        await backend.close()

    asyncio.run(session())
    return first, second


@pytest.fixture(scope="session")
def vllm_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's memory is that of a GPU, which this process can lend."""
    monkeypatch.setattr("burnish_vllm.ipc.reduce_tensor", reduce_tensor)
    monkeypatch.setattr("burnish_vllm.server.own_gpus", lambda: {GPU: torch.device("cpu")})
    monkeypatch.setattr("burnish_vllm.server.taken_back", lambda: None)
    monkeypatch.setattr("burnish_vllm.server.lent", partial(lent, limit=LENT))
    monkeypatch.setattr("burnish_vllm.backend.torch.cuda.is_available", lambda: True)


@pytest.fixture
def start(vllm_model: Path) -> Iterator[Start]:
    """A function that starts a fake server."""
    servers: list[FakeVLLM] = []

    def make(port: int = 0) -> FakeVLLM:
        servers.append(FakeVLLM(vllm_model, port))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()

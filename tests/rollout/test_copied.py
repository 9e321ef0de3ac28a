"""A copy of the model that is trained: the same numbers, and none of the same memory."""

from __future__ import annotations

import asyncio

import pytest
import torch
from torch import Tensor, nn

from burnish.config.sections import SamplingSection
from burnish.engine.export import distinct
from burnish.errors import ConfigError, ModelError
from burnish.rollout.contract import Receipt
from burnish.rollout.copied import CopiedBackend, copy_of, device_here
from burnish.rollout.sampler import HFSampler
from burnish.testing import tiny_model, tiny_tokenizer

IDS = torch.arange(3, 43)[None]
SAMPLING = SamplingSection(max_new_tokens=6)


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(input_ids=IDS).logits
    return found


@pytest.mark.parametrize("family", ["llama", "gemma3", "mistral"])
def test_a_copy_says_what_the_model_says(family: str) -> None:
    model = tiny_model(family).eval()
    before = logits(model)
    copy = copy_of(model, distinct(model))
    assert torch.equal(logits(copy), before)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert torch.equal(logits(copy), before)
    assert not any(parameter.requires_grad for parameter in copy.parameters())


def test_a_copy_without_all_weights_is_refused() -> None:
    model = tiny_model()
    weights = dict(distinct(model))
    del weights["model.norm.weight"]
    with pytest.raises(ModelError, match=r"cannot be copied: 1 of its weights are missing: model\.norm\.weight"):
        copy_of(model, weights)


@pytest.mark.parametrize("name", ["cuda:7", "cuda", "meta", "gpu", "cpu:1"])
def test_a_device_that_this_machine_lacks(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda **_: None)
    with pytest.raises(ConfigError, match=rf"hf_copy\.device: this machine has no device '{name}'\. .*Known: cpu\."):
        CopiedBackend(device=name)


def test_devices_of_a_machine_with_two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda **_: torch.device("cuda"))
    monkeypatch.setattr("torch.accelerator.device_count", lambda: 2)
    assert [device_here(name) for name in ("cpu", "cuda", "cuda:1")] == [*map(torch.device, ("cpu", "cuda", "cuda:1"))]
    with pytest.raises(ConfigError, match=r"no device 'cuda:2'\. Did you mean 'cuda:1'\? Known: cpu, cuda:0, cuda:1"):
        device_here("cuda:2")


@pytest.mark.parametrize("device", [None, "cpu"])
def test_it_draws_from_the_weights_that_it_was_given_last(device: str | None) -> None:
    """Until it is told, the model may move; a tensor that no model has is missing in the receipt."""
    model, tokenizer = tiny_model().eval(), tiny_tokenizer()
    backend = CopiedBackend(device=device)

    async def play() -> None:
        with pytest.raises(ModelError, match="it was given none yet"):
            await backend.update(0, {})
        backend.draw_like(model, tokenizer, torch.no_grad)
        for version in range(2):
            weights = {name: tensor.clone() for name, tensor in distinct(model).items()}
            assert await backend.update(version, weights) == Receipt.of(version, weights)
            [expected] = HFSampler(model, tokenizer).generate([[3, 4, 5]], SAMPLING, [7])
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.mul_(1.5)
            assert await backend.generate([3, 4, 5], SAMPLING, 7) == expected
        assert not (await backend.update(2, {"no.such": torch.zeros(1)})).tensors
        await backend.close()

    asyncio.run(play())

"""Keeping less for the backward pass changes no number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from burnish.batch import attention
from burnish.batch.layout import Kind, lay_out
from burnish.batch.trie import build_trie
from burnish.config.sections import TrainSection
from burnish.data.units import Sequence
from burnish.engine.distributed import make_accelerator
from burnish.errors import ConfigError
from burnish.model.checkpointing import KEPT, checkpoint_layers, offloaded
from burnish.model.scorer import Scorer
from burnish.model.signals import logp
from burnish.model.sites import sites_for
from burnish.testing.tiny import tiny_model

CPU = torch.device("cpu")


def gradients(model: nn.Module, kind: Kind = "tree", device: torch.device = CPU) -> list[Tensor]:
    draw = np.random.default_rng(0)
    trunk = draw.integers(0, 250, 12)
    sequences = [Sequence(np.concatenate([trunk, draw.integers(0, 250, length)]), {}) for length in (3, 9, 9)]
    layout = lay_out(sequences, kind)
    sites = sites_for(layout, [np.arange(len(one)) > 4 for one in sequences])
    model.zero_grad()
    [values] = Scorer(model, kind)(layout.to(device), sites.to(device), (logp(),))
    torch.autograd.backward(values.sum())
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


@pytest.mark.parametrize(("family", "kind"), [("llama", "tree"), ("gemma3", "packed"), ("llama", "padded")])
def test_selective_checkpointing_changes_no_gradient(family: str, kind: Kind) -> None:
    model = tiny_model(family).train()
    wanted = [gradient.clone() for gradient in gradients(model, kind)]
    checkpoint_layers(model, "selective")
    for one, other in zip(gradients(model, kind), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_selective_checkpointing_keeps_what_the_cuda_path_attends() -> None:
    """Of all operations of the path on tensors without numbers, what is kept are products and attention: here the latter."""
    trie = build_trie([Sequence(np.array([7, 7, branch]), {}) for branch in range(3)])
    seen: list[Any] = []

    class Seen(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
            seen.append(function)
            return function(*arguments, **(keywords or {}))

    with FakeTensorMode(), Seen():  # type: ignore[no-untyped-call]
        q, k, v = (torch.empty(1, heads, len(trie.ids), 16, dtype=torch.bfloat16) for heads in (4, 2, 2))
        attention._varlen(q, k, v, trie.segments, 0.25, None)
    assert [operation.name() for operation in seen if operation in KEPT] == ["torch_attn::_varlen_attn"]


def test_offloading_changes_no_gradient_and_leaves_weights_alone(moved: list[Tensor]) -> None:
    model = tiny_model().train()
    wanted = [gradient.clone() for gradient in gradients(model)]
    with offloaded(model.parameters(), CPU, smallest_bytes=0):
        found = gradients(model)
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    assert moved
    assert not weights & {tensor.untyped_storage().data_ptr() for tensor in moved}


def test_offloading_can_be_rehearsed(moved: list[Tensor]) -> None:
    """Tensors without numbers lie at no address, so weights are told apart by their storages."""
    with FakeTensorMode():  # type: ignore[no-untyped-call]
        weight, states = nn.Parameter(torch.empty(4, 4)), torch.empty(3, 4)
        with offloaded([weight], CPU, smallest_bytes=0):
            states @ weight @ weight.T
    assert [list(tensor.shape) for tensor in moved] == [[3, 4], [3, 4]]


def test_without_a_gpu_there_is_nothing_to_offload() -> None:
    if torch.accelerator.is_available():
        pytest.skip("there is one")
    with pytest.raises(ConfigError, match="drop it"):
        make_accelerator(TrainSection(offload_activations=True), [], None)  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_offloaded_activations_take_no_memory_of_the_gpu() -> None:
    device = torch.device("cuda")
    model = tiny_model(num_hidden_layers=8).to(device).train()
    wanted = [gradient.clone() for gradient in gradients(model, device=device)]
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.max_memory_allocated()
    gradients(model, device=device)
    kept = torch.cuda.max_memory_allocated() - before
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.max_memory_allocated()
    with offloaded(model.parameters(), device, smallest_bytes=0):
        found = gradients(model, device=device)
    assert torch.cuda.max_memory_allocated() - before < kept
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)

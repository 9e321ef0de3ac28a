"""Liger's kernels: refused in words where they cannot work; on a GPU the same numbers as the model's own code."""

from __future__ import annotations

import importlib

import pytest
import torch
from burnish_liger.kernel import PATCHES, Liger

from burnish.errors import ModelError
from burnish.testing import evaluate, tiny_model, tiny_tokenizer

ROWS = [{"prompt": f"twice {a} is", "completion": f" {2 * a}"} for a in range(4)]


def test_a_cpu_is_refused_in_words() -> None:
    with pytest.raises(ModelError, match=r"written for CUDA, and this model is on the cpu; drop it from model\.kernels"):
        Liger()(tiny_model())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_the_same_numbers(family: str) -> None:
    pytest.importorskip(PATCHES, reason="liger-kernel is not installed")
    sizes = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16, "initializer_range": 0.1}
    own, patched = (tiny_model(family, **sizes).cuda() for _ in range(2))
    expected = evaluate([{"sft": {}}], ROWS, own, tiny_tokenizer(chat=False))
    Liger()(patched)  # the rotation of `own` too, from here on
    found = evaluate([{"sft": {}}], ROWS, patched, tiny_tokenizer(chat=False))
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    for name, grad in expected.grads.items():
        torch.testing.assert_close(found.grads[name], grad, rtol=1e-3, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_an_unknown_family_is_refused() -> None:
    pytest.importorskip(PATCHES, reason="liger-kernel is not installed")
    with pytest.raises(ModelError, match="does not know models of the family 'bloom'"):
        Liger()(tiny_model("bloom").cuda())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_package_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ModelError, match="pip install 'burnish-liger"):
        Liger()(tiny_model().cuda())

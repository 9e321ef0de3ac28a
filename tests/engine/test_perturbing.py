"""A perturbation is seeded, as large as asked, on everything that is sent, and gone afterwards, bit for bit."""

from __future__ import annotations

import pytest
import torch

from burnish.engine.perturbing import LEAST, movable, perturbed
from burnish.model.adapters import add_lora
from burnish.model.values import add_value_head
from burnish.testing import tiny_model


def test_it_is_the_same_every_time_and_gone_afterwards() -> None:
    model = tiny_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    seen = []
    for scale in (0.5, 0.5, 0.25):
        with perturbed(model, None, scale):
            seen.append({name: tensor - before[name] for name, tensor in model.state_dict().items()})
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    for name, tensor in before.items():
        assert torch.equal(seen[0][name], seen[1][name])
        torch.testing.assert_close(seen[2][name], seen[0][name] / 2, atol=1e-6, rtol=1e-4)
        size = float(seen[0][name].square().mean().sqrt() / tensor.square().mean().sqrt())
        assert size == pytest.approx(0.5, rel=0.5)


def test_it_is_gone_after_an_error_too() -> None:
    model = tiny_model()
    before = model.get_input_embeddings().weight.clone()
    with pytest.raises(OSError, match="lost"), perturbed(model, None, 0.5):
        raise OSError("lost")
    assert torch.equal(model.get_input_embeddings().weight, before)


def test_an_adapter_alone_moves_though_half_of_it_is_zero() -> None:
    model = add_lora(tiny_model(), r=2, alpha=4)
    moved = movable(model, "default")
    assert moved.keys() == {name for name, _ in model.named_parameters() if "lora_" in name}
    with perturbed(model, "default", 1.0):
        sizes = [float(tensor.detach().square().mean().sqrt()) for name, tensor in moved.items() if "lora_B" in name]
    assert sum(sizes) / len(sizes) == pytest.approx(LEAST, rel=0.2)


def test_a_value_head_stays() -> None:
    model = tiny_model()
    add_value_head(model)
    assert set(movable(model, None)) < {name for name, _ in model.named_parameters()}

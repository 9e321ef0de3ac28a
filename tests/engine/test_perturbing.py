"""A perturbation is seeded, as large as asked, on everything that is sent, and gone afterwards, bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from burnish.engine.perturbing import LEAST, PERIOD, movable, perturbing
from burnish.model.adapters import add_lora
from burnish.model.values import add_value_head
from burnish.testing import tiny_model


def test_it_is_the_same_every_time_and_gone_afterwards() -> None:
    model = tiny_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    seen = []
    for scales in ((0.5,), (2.0, 0.5), (0.25,)):  # the second replaces the first
        with perturbing(model, None) as put:
            for scale in scales:
                put(scale)
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

    def lose() -> None:
        with perturbing(model, None) as put:
            put(0.5)
            raise OSError("lost")

    with pytest.raises(OSError, match="lost"):
        lose()
    assert torch.equal(model.get_input_embeddings().weight, before)


def test_an_adapter_alone_moves_though_half_of_it_is_zero() -> None:
    model = add_lora(tiny_model(), r=2, alpha=4)
    moved = movable(model, "default")
    assert moved.keys() == {name for name, _ in model.named_parameters() if "lora_" in name}
    with perturbing(model, "default") as put:
        put(1.0)
        sizes = [float(tensor.detach().square().mean().sqrt()) for name, tensor in moved.items() if "lora_B" in name]
    assert sum(sizes) / len(sizes) == pytest.approx(LEAST, rel=0.2)


def test_a_value_head_stays() -> None:
    model = tiny_model()
    add_value_head(model)
    assert set(movable(model, None)) < {name for name, _ in model.named_parameters()}


def test_weights_of_any_size_and_stride_get_noise_of_their_own() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.large = nn.Parameter(torch.ones(3, PERIOD - 100))  # its rows begin at other places in the noise
            self.again = nn.Parameter(torch.ones(3, PERIOD - 100))
            self.turned = nn.Parameter(torch.ones(5, 3).t())
            self.scalar = nn.Parameter(torch.tensor(2.0))
            self.none = nn.Parameter(torch.ones(0, 3))

    model = Model()
    with perturbing(model, None) as put:
        put(0.5)
        rows = torch.cat([model.large, model.again]).detach().clone() - 1
        turned, scalar = model.turned.detach().clone(), model.scalar.item()
    assert rows.std(1).tolist() == pytest.approx([0.5] * 6, rel=0.02)
    assert (torch.corrcoef(rows).abs() - torch.eye(6)).max() < 0.02
    assert (turned != 1).all()
    assert scalar != 2
    assert model.turned.eq(1).all()
    assert model.scalar.item() == 2


def test_narrow_weights_come_back_bit_for_bit() -> None:
    model = nn.Linear(64, 64, dtype=torch.bfloat16)
    before = model.weight.detach().clone()
    with perturbing(model, None) as put:
        put(1.0)
        assert (model.weight - before).detach().float().std() == pytest.approx(float(before.float().std()), rel=0.1)
    assert torch.equal(model.weight, before)

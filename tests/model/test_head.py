"""Signals of a tile, by hand; tiles change nothing; logits do not outlive them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from burnish.errors import ModelError
from burnish.model.head import read_outputs, read_vocabulary
from burnish.model.signals import Signal, entropy, logp, mean_logit, score, sum_p2, top1
from burnish.model.tile import LogitScale

# Logits log 1, log 2, log 1: probabilities 1/4, 1/2, 1/4.
LOGITS = torch.tensor([[1.0, 2.0, 1.0], [1.0, 2.0, 1.0]], dtype=torch.float64).log()
TARGETS = torch.tensor([1, 0])


def read(*signals: Signal, scale: LogitScale = LogitScale(), rows: int = 8) -> list[Tensor]:  # noqa: B008 - frozen
    return read_vocabulary(nn.Identity(), scale, LOGITS, TARGETS, signals, rows)


def test_signals_by_hand() -> None:
    values = read(logp(), entropy(), top1(), mean_logit(), sum_p2())
    expected = [
        [-math.log(2), -2 * math.log(2)],
        [1.5 * math.log(2)] * 2,  # log 2 / 2 + 2 * log 4 / 4
        [1, 0],
        [math.log(2) / 3] * 2,
        [3 / 8] * 2,  # 1/16 + 1/4 + 1/16
    ]
    torch.testing.assert_close(torch.stack(values), torch.tensor(expected, dtype=torch.float64))


def test_a_temperature_divides_the_logits() -> None:
    # At temperature 1/2 the weights are 1, 4, 1.
    [value] = read(logp(temperature=0.5))
    torch.testing.assert_close(value, torch.tensor([4 / 6, 1 / 6], dtype=torch.float64).log())


def test_factor_comes_before_the_soft_cap() -> None:
    [value] = read(logp(), scale=LogitScale(factor=2.0, softcap=1.0))
    capped = math.tanh(2 * math.log(2))  # the other two logits are 0
    normaliser = math.log(2 + math.exp(capped))
    torch.testing.assert_close(value, torch.tensor([capped - normaliser, -normaliser], dtype=torch.float64))


def test_entropy_of_a_forbidden_token_is_finite() -> None:
    hidden = torch.tensor([[0.0, 0.0, -math.inf]])
    [value] = read_vocabulary(nn.Identity(), LogitScale(), hidden, torch.tensor([0]), (entropy(),), 8)
    torch.testing.assert_close(value, torch.tensor([math.log(2)]))


def test_only_three_signals_have_no_gradient() -> None:
    hidden = LOGITS.clone().requires_grad_()
    signals = (logp(), entropy(), top1(), mean_logit(), sum_p2())
    values = read_vocabulary(nn.Identity(), LogitScale(), hidden, TARGETS, signals, 8)
    assert [value.requires_grad for value in values] == [True, True, False, False, False]


def test_gradients_of_logp_and_entropy_are_right() -> None:
    # Both bring analytic gradients; a numeric derivative knows nothing of them. The soft cap and temperature come before.
    torch.manual_seed(0)
    hidden, targets = torch.randn(5, 7, dtype=torch.float64, requires_grad=True), torch.randint(7, (5,))
    signals = (logp(), entropy(temperature=0.5), logp(temperature=2.0))

    def read_all(hidden: Tensor) -> tuple[Tensor, ...]:
        return tuple(read_vocabulary(nn.Identity(), LogitScale(softcap=3.0), hidden, targets, signals, 2))

    assert torch.autograd.gradcheck(read_all, hidden)


def spread(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.max(-1).values - logits.min(-1).values


def test_a_signal_of_ones_own() -> None:
    [value] = read(Signal("spread", tile=spread))
    torch.testing.assert_close(value, torch.full((2,), math.log(2), dtype=torch.float64))


def test_unknown_signals_are_named() -> None:
    with pytest.raises(ModelError, match=r"no signal named 'entrpy'.*Did you mean 'entropy'"):
        read(Signal("entrpy"))


def test_a_classifier_needs_one_output_or_a_label() -> None:
    hidden = torch.tensor([[1.0, 5.0]])
    [value] = read_outputs(nn.Identity(), hidden, (score(parameters=(("label", 1.0),)),))
    assert value.tolist() == [5.0]
    with pytest.raises(ModelError, match="this one has 2"):
        read_outputs(nn.Identity(), hidden, (score(),))
    with pytest.raises(ModelError, match="'logp' needs a language-model head"):
        read_outputs(nn.Identity(), hidden, (logp(),))


def test_tiles_change_neither_values_nor_gradients() -> None:
    torch.manual_seed(0)
    head = nn.Linear(8, 50).double()
    hidden, targets = torch.randn(23, 8, dtype=torch.float64, requires_grad=True), torch.randint(50, (23,))
    found = []
    for rows in (23, 5, 1):
        first, second = read_vocabulary(head, LogitScale(softcap=5.0), hidden, targets, (logp(), entropy()), rows)
        gradients = torch.autograd.grad((first * second).sum(), [hidden, head.weight, head.bias])
        found.append(torch.cat([first, second, *(gradient.flatten() for gradient in gradients)]))
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found[2], found[0], rtol=1e-12, atol=1e-12)


def test_half_precision_heads_give_float32() -> None:
    [value] = read_vocabulary(nn.Identity(), LogitScale(), LOGITS.bfloat16(), TARGETS, (logp(),), 8)
    assert value.dtype == torch.float32


def test_nothing_of_the_size_of_vocabulary_times_tokens_is_kept() -> None:
    tokens, vocabulary, rows = 200, 3000, 10
    head = nn.Linear(4, vocabulary, bias=False)
    hidden = torch.randn(tokens, 4, requires_grad=True)
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        values = read_vocabulary(head, LogitScale(), hidden, torch.randint(vocabulary, (tokens,)), (logp(), entropy()), rows)
    assert max(sizes, default=0) <= head.weight.numel()
    sizes.clear()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):  # what the recomputation keeps for a moment
        torch.autograd.backward(torch.stack(values).sum())
    assert max(sizes, default=0) <= rows * vocabulary

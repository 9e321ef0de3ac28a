"""The head differentiated by hand: right by numeric derivatives, equal to the checkpointed one, small, and without a bias that
grows while a model is trained in bfloat16."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from burnish.model import linear_head
from burnish.model.head import read_vocabulary
from burnish.model.linear_head import is_plain
from burnish.model.signals import Signal, divergence, entropy, logp, mean_logit, sum_p2, top1
from burnish.model.tile import LogitScale

TOKENS, HIDDEN, VOCABULARY, ROWS = 11, 5, 17, 4
EVERY = (entropy(temperature=0.5), logp(), top1(), entropy(), mean_logit(), logp(temperature=2.0), sum_p2())
CAPPED = LogitScale(factor=0.7, softcap=3.0)
Made = tuple[nn.Linear, Tensor, Tensor]


class Wrapped(nn.Module):
    """The same head, but not to be recognised."""

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        self.head = head

    def forward(self, hidden: Tensor) -> Tensor:
        values: Tensor = self.head(hidden)
        return values


@pytest.fixture
def make() -> Callable[..., Made]:
    def make(bias: bool = True, dtype: torch.dtype = torch.float64, vocabulary: int = VOCABULARY) -> Made:
        torch.manual_seed(0)
        head = nn.Linear(HIDDEN, vocabulary, bias=bias).to(dtype)
        hidden = torch.randn(TOKENS, HIDDEN, dtype=dtype, requires_grad=True)
        return head, hidden, torch.randint(vocabulary, (TOKENS,))

    return make


def gradients(head: nn.Module, scale: LogitScale, hidden: Tensor, targets: Tensor, signals: tuple[Signal, ...]) -> Tensor:
    """All values and, of a sum in which each has a weight of its own, all gradients."""
    values = read_vocabulary(head, scale, hidden, targets, signals, ROWS)
    weights = torch.linspace(-1, 1, TOKENS * len(values), dtype=torch.float64).view(len(values), TOKENS)
    total = (torch.stack(values) * weights.to(values[0])).sum()
    learned = [hidden, *(parameter for parameter in head.parameters() if parameter.requires_grad)]
    return torch.cat([*(value.detach() for value in values), *(one.flatten() for one in torch.autograd.grad(total, learned))])


@pytest.mark.parametrize("kept", [0, 2**20])
@pytest.mark.parametrize("signals", [(logp(),), EVERY])
def test_numeric_derivatives(
    make: Callable[..., Made], signals: tuple[Signal, ...], kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(linear_head.KEPT_BYTES, "cpu", kept)
    head, hidden, targets = make()
    learning = tuple(signal for signal in signals if signal.name in ("logp", "entropy"))

    def read(hidden: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        for name, tensor in (("weight", weight), ("bias", bias)):
            vars(head)["_parameters"][name] = tensor
        return tuple(read_vocabulary(head, CAPPED, hidden, targets, learning, ROWS))

    assert torch.autograd.gradcheck(read, (hidden, head.weight, head.bias))


@pytest.mark.parametrize("kept", [0, ROWS * VOCABULARY * 8, 2**20])  # nothing, one tile, all
@pytest.mark.parametrize("scale", [LogitScale(), CAPPED])
@pytest.mark.parametrize("signals", [(logp(),), (logp(temperature=2.0),), (logp(), top1()), EVERY])
@pytest.mark.parametrize("frozen", [False, True])
def test_equal_to_the_checkpointed_head(
    make: Callable[..., Made],
    signals: tuple[Signal, ...],
    scale: LogitScale,
    kept: int,
    frozen: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(linear_head.KEPT_BYTES, "cpu", kept)
    head, hidden, targets = make()
    head.requires_grad_(not frozen)
    assert is_plain(head, signals)
    assert not is_plain(Wrapped(head), signals)
    found, expected = (gradients(one, scale, hidden, targets, signals) for one in (head, Wrapped(head)))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_equal_under_autocast(make: Callable[..., Made]) -> None:
    head, hidden, targets = make(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = (gradients(one, LogitScale(), hidden, targets, (logp(), entropy())) for one in (head, Wrapped(head)))
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)


def test_a_second_backward_pass_gives_the_same(make: Callable[..., Made]) -> None:
    head, hidden, targets = make()
    total = read_vocabulary(head, LogitScale(), hidden, targets, (logp(),), ROWS)[0].sum()
    first, second = (torch.autograd.grad(total, [hidden, head.weight], retain_graph=True) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_a_token_that_cannot_be_has_a_finite_entropy_and_gradient(make: Callable[..., Made]) -> None:
    head, hidden, targets = make()
    with torch.no_grad():
        head.bias[3] = -math.inf
    found = gradients(head, LogitScale(), hidden, torch.where(targets == 3, 0, targets), (logp(), entropy()))
    assert found.isfinite().all()


@pytest.mark.parametrize("what", ["hook", "forward", "kind", "signal", "tile"])
def test_what_is_not_plain(make: Callable[..., Made], what: str) -> None:
    head, signals = make()[0], (logp(),)
    if what == "hook":
        head.register_forward_hook(lambda *_: None)
    elif what == "forward":
        vars(head)["forward"] = head.forward  # as offloading replaces it
    elif what == "kind":
        nn.utils.parametrizations.weight_norm(head)
    else:
        own = Signal("logp", tile=lambda logits, targets: logits[:, 0])
        signals = (divergence(),) if what == "signal" else (own,)
    assert not is_plain(head, signals)


class Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The largest number of elements of logits that lived at any time: results of operations with `width` columns."""

    def __init__(self, width: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.width, self.most = width, 0
        self._storages: dict[int, int] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor) and tensor.ndim == 2 and tensor.shape[1] == self.width:
                storage = tensor.untyped_storage()
                if (place := storage.data_ptr()) not in self._storages:
                    self._storages[place] = storage.nbytes() // tensor.element_size()
                    weakref.finalize(storage, self._storages.pop, place, None)
        self.most = max(self.most, sum(self._storages.values()))
        return result


@pytest.mark.parametrize("frozen", [False, True])
def test_memory_does_not_grow_with_tokens_times_vocabulary(frozen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, vocabulary = 8, 1000
    monkeypatch.setitem(linear_head.KEPT_BYTES, "cpu", 2 * rows * vocabulary * 4)
    head = nn.Linear(4, vocabulary, bias=False).requires_grad_(not frozen)
    most = []
    for tokens in (10 * rows, 40 * rows):
        hidden = torch.randn(tokens, 4, requires_grad=True)
        with Alive(vocabulary) as alive:
            [values] = read_vocabulary(head, LogitScale(), hidden, torch.randint(vocabulary, (tokens,)), (logp(),), rows)
            values.sum().backward()  # type: ignore[no-untyped-call]
        most.append(alive.most)
    assert most[0] == most[1] <= 8 * rows * vocabulary  # two tiles are kept, the others are those being worked on


def test_entropy_does_not_drift_in_bfloat16() -> None:
    """Fifty steps up the entropy with bfloat16 weights' logits, and with float64 ones of the same weights: the same course."""
    torch.manual_seed(0)
    start, hidden = torch.randn(300, 16) * 0.3, torch.randn(64, 16)
    targets = torch.randint(300, (64,))
    courses = []
    for mixed in (True, False):
        head = nn.Linear(16, 300, bias=False, dtype=torch.float32 if mixed else torch.float64)
        head.weight.data.copy_(start)
        optimizer, course = torch.optim.SGD(head.parameters(), lr=2.0), []
        for _ in range(50):
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                states = hidden.to(head.weight.dtype)
                values, spread = read_vocabulary(head, LogitScale(), states, targets, (logp(), entropy()), 24)
            (values.mean() * 0.1 + spread.mean()).neg().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            course.append(spread.mean().item())
        courses.append(torch.tensor(course, dtype=torch.float64))
    moved = abs(float(courses[1][-1] - courses[1][0]))
    assert moved > 0.05
    assert float((courses[0] - courses[1]).abs().max()) < 0.01 * moved

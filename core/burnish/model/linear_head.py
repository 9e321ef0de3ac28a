"""A plain linear head, differentiated by hand: no product is made twice where that can be avoided.

In: hidden states of the scored positions, the head's weight, targets, signals. Out: what `read_vocabulary` gives for any head.
The gradient of a number by its logits is known in closed form, so a tile of logits is turned into it in place. Where one number
is wanted and the head is frozen (adapters), that happens in the forward tile, and backward is a multiplication. Where the head
learns, its gradient waits for the loss: raw logits are kept for it up to `KEPT_BYTES`, and computed again beyond.
Shapes: n tile, M scored tokens, H hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributed.tensor import DTensor
from torch.nn import functional as F

from burnish.model.divergence import LOWEST, Sampled
from burnish.model.signals import Signal
from burnish.model.tile import VOCABULARY, WITHOUT_GRADIENT, LogitScale, Tile, read_tile, tile_rows, wide

# Raw logits that wait for the backward pass, in all: a constant, whatever the batch and the vocabulary.
KEPT_BYTES = {"cpu": 2**29, "cuda": 2**30}
# Logits that one elementwise operation goes over: on a CPU as many as its caches hold.
CPU_CHUNK_ELEMENTS, GPU_CHUNK_ELEMENTS = 2**19, 2**25
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def is_plain(head: nn.Module, signals: tuple[Signal, ...]) -> TypeGuard[nn.Linear]:
    """Whether the head is its weight and bias and nothing else, and all signals are the built-in ones of one vocabulary.

    Adapters, quantised layers, sharded weights and whatever hooks into the module are called as modules.
    """
    if type(head) is not nn.Linear or "forward" in vars(head) or any(getattr(head, hooks) for hooks in HOOKS):
        return False
    known = all(signal.tile is None and signal.name in VOCABULARY for signal in signals)
    return known and not isinstance(head.weight, DTensor) and head.weight.is_floating_point()


def read_linear(
    head: nn.Linear,
    scale: LogitScale,
    hidden: Tensor,
    targets: Tensor,
    signals: tuple[Signal, ...],
    rows: int,
    sampled: Sampled | None = None,
) -> list[Tensor]:
    """Signals of a plain head, in the order asked: [M] each. hidden: [M, H]; targets: [M]; rows: the tile size; sampled: what
    the sampler said of the targets, where a signal compares with that."""
    device = hidden.device.type
    mixed = torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if mixed else head.weight.dtype
    request = _Request(signals, scale, rows, dtype, torch.is_grad_enabled(), sampled)
    with torch.autocast(device, enabled=False):
        values: tuple[Tensor, ...] = _LinearHead.apply(hidden, head.weight, head.bias, targets, request)  # type: ignore[no-untyped-call]
    return list(values)


def logit_bytes(head: nn.Module, num_tokens: int, element_bytes: int, device: torch.device) -> int:
    """Memory that a head of a language model takes for so many scored tokens, at most: logits, and the gradient of its weight
    until it is added to those before. Of another head, three float32 tiles: logits, their softmax and their gradient."""
    num_outputs: int = getattr(head, "out_features", 1)
    tile = num_outputs * min(tile_rows(num_outputs, device), num_tokens)
    if is_plain(head, ()):
        if not head.weight.requires_grad:
            return tile * element_bytes
        room = KEPT_BYTES.get(device.type, KEPT_BYTES["cuda"]) + tile * element_bytes
        kept = min(num_outputs * num_tokens * element_bytes, room)
        return kept + head.weight.numel() * max(head.weight.element_size(), 4)
    return 3 * 4 * tile


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    """What is asked of the head. dtype: of its products; trains: whether a backward pass follows; sampled: of all targets."""

    signals: tuple[Signal, ...]
    scale: LogitScale
    rows: int
    dtype: torch.dtype
    trains: bool
    sampled: Sampled | None = None

    @property
    def temperatures(self) -> list[float]:
        """Each once."""
        return sorted({signal.temperature for signal in self.signals})

    @property
    def learning(self) -> list[int]:
        """Places of the signals that carry a gradient."""
        return [place for place, signal in enumerate(self.signals) if signal.name not in WITHOUT_GRADIENT]


class _Known:
    """Normalisers and entropies, [M] by temperature: with them a gradient needs nothing of the logits but the logits."""

    def __init__(self, of: dict[float, dict[str, Tensor]]) -> None:
        self.of = of

    def cut(self, part: slice) -> dict[float, dict[str, Tensor]]:
        """The numbers of some positions; written to, they are written here."""
        return {temperature: {name: row[part] for name, row in rows.items()} for temperature, rows in self.of.items()}


class _LinearHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, request: _Request
    ) -> tuple[Tensor, ...]:
        precise = torch.promote_types(request.dtype, torch.float32)
        values = [hidden.new_empty(len(hidden), dtype=precise) for _ in request.signals]
        empty = {one: {name: torch.empty_like(values[0]) for name in _reduced(request, one)} for one in request.temperatures}
        known = _Known(empty)
        head_learns = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
        at_once = request.trains and len(request.learning) == 1 and not head_learns
        unit = torch.empty_like(hidden, dtype=precise) if at_once else None  # d value / d hidden
        kept: list[Tensor] = []
        room = KEPT_BYTES.get(hidden.device.type, KEPT_BYTES["cuda"]) if request.trains and not at_once else 0
        matrix = weight.to(request.dtype)
        for tile in _parts(len(hidden), request.rows):
            raw = _product(hidden[tile], matrix, bias)
            for chunk in _chunks(raw):
                place = slice(tile.start + chunk.start, tile.start + chunk.stop)
                _read(raw[chunk], targets, place, request, known.cut(place), [value[place] for value in values])
            if unit is not None:
                one = [torch.ones_like(value[tile]) for value in values]
                _slope_(raw, targets[tile], request, known.cut(tile), one)
                unit[tile] = raw @ matrix
            elif raw.nbytes <= room:
                kept.append(raw)
                room -= raw.nbytes
        reduced = [row for rows in empty.values() for row in rows.values()]
        ctx.save_for_backward(hidden, weight, bias, targets, unit, *reduced)
        ctx.request, ctx.kept = request, kept
        ctx.mark_non_differentiable(*(value for place, value in enumerate(values) if place not in request.learning))
        return tuple(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        request: _Request = ctx.request
        hidden, weight, bias, targets, unit, *rows = ctx.saved_tensors
        if unit is not None:
            return (unit * grads[request.learning[0]][:, None]).to(hidden.dtype), None, None, None, None
        names = iter(rows)
        known = _Known({one: {name: next(names) for name in _reduced(request, one)} for one in request.temperatures})
        # The kept logits become the gradient in place, so they serve once; a second backward pass computes them anew.
        kept, ctx.kept = ctx.kept[::-1], []
        matrix = weight.to(request.dtype)
        precise = torch.promote_types(request.dtype, torch.float32)
        d_hidden = torch.empty_like(hidden)
        d_weight = torch.zeros_like(weight, dtype=precise) if ctx.needs_input_grad[1] else None
        d_bias = torch.zeros_like(bias, dtype=precise) if ctx.needs_input_grad[2] else None
        for tile in _parts(len(hidden), request.rows):
            raw = kept.pop() if kept else _product(hidden[tile], matrix, bias)
            _slope_(raw, targets[tile], request, known.cut(tile), [grad[tile] for grad in grads])
            d_hidden[tile] = raw @ matrix
            if d_weight is not None:
                _add_product_(d_weight, raw, hidden[tile])
            if d_bias is not None:
                d_bias += raw.sum(0, dtype=precise)
        d_weight = None if d_weight is None else d_weight.to(weight.dtype)
        return d_hidden, d_weight, None if d_bias is None else d_bias.to(bias.dtype), None, None


def _reduced(request: _Request, temperature: float) -> list[str]:
    """Which numbers of a temperature the gradient needs."""
    names = {signal.name for signal in request.signals if signal.temperature == temperature}
    return ["logsumexp", "entropy"] if "entropy" in names else ["logsumexp"] if "logp" in names else []


def _parts(size: int, length: int) -> Iterator[slice]:
    return (slice(start, min(start + length, size)) for start in range(0, size, length))


def _chunks(raw: Tensor) -> Iterator[slice]:
    elements = CPU_CHUNK_ELEMENTS if raw.device.type == "cpu" else GPU_CHUNK_ELEMENTS
    return _parts(len(raw), max(elements // raw.shape[-1], 1))


def _product(hidden: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    """What the head itself would give: [n, V]."""
    return F.linear(hidden.to(matrix.dtype), matrix, None if bias is None else bias.to(matrix.dtype))


def _add_product_(total: Tensor, slopes: Tensor, hidden: Tensor) -> None:
    """total [V, H] += slopes [n, V] transposed @ hidden [n, H], added up in the precision of `total`."""
    hidden = hidden.to(slopes.dtype)
    if slopes.dtype == total.dtype:
        total.addmm_(slopes.t(), hidden)
    else:
        total += slopes.t() @ hidden


def _read(
    raw: Tensor, targets: Tensor, place: slice, request: _Request, known: dict[float, dict[str, Tensor]], values: list[Tensor]
) -> None:
    """Write the signals of a chunk, which lies at `place` among all targets, and what their gradients need."""
    logits = request.scale(wide(raw))
    sampled = None if request.sampled is None else request.sampled.cut(place)
    tiles = {one: Tile(logits if one == 1 else logits / one, targets[place], {}, sampled=sampled) for one in known}
    for signal, value in zip(request.signals, values, strict=True):
        value.copy_(read_tile(tiles[signal.temperature], signal))
    for temperature, rows in known.items():
        for name, row in rows.items():
            row.copy_(tiles[temperature].known[name])


def _slope_(
    raw: Tensor, targets: Tensor, request: _Request, known: dict[float, dict[str, Tensor]], grads: list[Tensor]
) -> None:
    """Turn raw logits [n, V] into the gradient by them, given those by the signals, [n] each."""
    for chunk in _chunks(raw):
        part = {temperature: {name: row[chunk] for name, row in rows.items()} for temperature, rows in known.items()}
        raw[chunk] = _slope(raw[chunk], targets[chunk], request, part, [grad[chunk] for grad in grads])


def _slope(
    raw: Tensor, targets: Tensor, request: _Request, known: dict[float, dict[str, Tensor]], grads: list[Tensor]
) -> Tensor:
    """d logp / d logit_j = ([j = target] - p_j) / T; d entropy / d logit_j = -p_j (log p_j + entropy) / T."""
    logits, scale = request.scale(wide(raw)), request.scale
    total: Tensor | None = None
    for temperature, rows in known.items():
        if not rows:
            continue
        of_logp, of_entropy = (_gradient(request, temperature, name, grads) for name in ("logp", "entropy"))
        logp = (logits if temperature == 1 else logits / temperature) - rows["logsumexp"][:, None]
        slope = logp.exp()
        if of_entropy is not None:
            factor = logp.clamp_min_(LOWEST).add_(rows["entropy"][:, None]).mul_(of_entropy)
            slope *= factor if of_logp is None else factor.add_(of_logp)
            slope *= -1
        elif of_logp is not None:
            slope *= -of_logp
        if of_logp is not None:
            slope.scatter_add_(-1, targets[:, None], of_logp)
        total = slope if total is None else total.add_(slope)
    if total is None:
        return torch.zeros_like(raw)
    if scale.softcap is not None:
        total *= 1 - (logits / scale.softcap) ** 2
    return total if scale.factor == 1 else total * scale.factor


def _gradient(request: _Request, temperature: float, name: str, grads: list[Tensor]) -> Tensor | None:
    """The gradient by a signal, divided by its temperature: [n, 1]; None when it was not asked for."""
    for signal, grad in zip(request.signals, grads, strict=True):
        if signal.name == name and signal.temperature == temperature:
            return grad[:, None] / temperature
    return None

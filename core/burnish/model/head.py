"""The head, a tile of scored positions at a time: hidden states become numbers, logits never outlive their tile.

In: the head module itself, hidden states of the scored positions, targets, signals. Out: one float32 vector per signal. With
gradients every tile is a checkpoint, so neither logits nor probabilities are kept for the backward pass.
Shapes: n tile, M scored tokens, H hidden, V vocabulary (or labels of a classifier).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from burnish.errors import ModelError, did_you_mean
from burnish.model.signals import Signal

# Logits held at once: 64 MiB of float32 keeps a CPU's caches busy, 512 MiB a GPU's multiprocessors.
CPU_TILE_ELEMENTS, GPU_TILE_ELEMENTS = 2**24, 2**27


@dataclass(frozen=True, slots=True)
class LogitScale:
    """What a model does to the head's output before it calls it logits: times `factor`, then softcap * tanh(x / softcap)."""

    factor: float = 1.0
    softcap: float | None = None

    @classmethod
    def of(cls, config: Any) -> LogitScale:
        """Read from a transformers text config, under the names that its families use."""
        factor = 1.0
        for name in ("logit_scale", "lm_head_multiplier", "output_multiplier"):
            factor *= getattr(config, name, None) or 1.0
        scaling = getattr(config, "logits_scaling", None) or 1.0
        factor *= scaling if "hyperclovax" in config.model_type else 1 / scaling  # the granite families divide by it
        return cls(factor, getattr(config, "final_logit_softcapping", None))

    def __call__(self, logits: Tensor) -> Tensor:
        if self.factor != 1.0:
            logits = logits * self.factor
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)


class Tile:
    """Logits of a tile, divided by a temperature, and what several signals take from them, computed once."""

    def __init__(self, logits: Tensor, targets: Tensor) -> None:
        self.logits, self.targets = logits, targets  # [n, V], [n]

    @cached_property
    def logsumexp(self) -> Tensor:
        """[n], the logarithm of the normaliser."""
        return self.logits.logsumexp(-1)

    def logp(self) -> Tensor:
        """[n], nats."""
        return self.logits.gather(-1, self.targets[:, None])[:, 0] - self.logsumexp

    def entropy(self) -> Tensor:
        """[n], nats."""
        p = (self.logits - self.logsumexp[:, None]).exp()
        # A logit of -inf has probability 0 and adds nothing, but 0 * -inf would be NaN.
        return self.logsumexp - (p * self.logits.masked_fill(p == 0, 0)).sum(-1)

    def top1(self) -> Tensor:
        """[n], 1 where the target has the largest logit."""
        return (self.logits.argmax(-1) == self.targets).to(self.logits)

    def mean_logit(self) -> Tensor:
        """[n]."""
        return self.logits.mean(-1)

    def sum_p2(self) -> Tensor:
        """[n], probability that two draws agree."""
        return ((2 * self.logits).logsumexp(-1) - 2 * self.logsumexp).exp()


VOCABULARY: dict[str, Callable[[Tile], Tensor]] = {
    "logp": Tile.logp,
    "entropy": Tile.entropy,
    "top1": Tile.top1,
    "mean_logit": Tile.mean_logit,
    "sum_p2": Tile.sum_p2,
}
WITHOUT_GRADIENT = frozenset({"top1", "mean_logit", "sum_p2"})
OUTPUTS = frozenset({"score", "value"})  # read from a classifier's head, not from a vocabulary


def wide(logits: Tensor) -> Tensor:
    """Logits in the precision that signals are computed in: float64 for float64 models, else float32."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def tile_rows(num_outputs: int, device: torch.device) -> int:
    """Scored positions per tile for a head of `num_outputs`."""
    elements = CPU_TILE_ELEMENTS if device.type == "cpu" else GPU_TILE_ELEMENTS
    return max(elements // num_outputs, 16)


def read_vocabulary(
    head: nn.Module, scale: LogitScale, hidden: Tensor, targets: Tensor, signals: tuple[Signal, ...], rows: int
) -> list[Tensor]:
    """Signals of a language-model head, in the order asked: [M] each.

    hidden: [M, H]; targets: [M]; rows: the tile size. Raises ModelError for a signal without a rule.
    """
    for signal in signals:
        if signal.tile is None and signal.name not in VOCABULARY:
            raise ModelError(f"no signal named '{signal.name}' in a vocabulary. {did_you_mean(signal.name, VOCABULARY)}")

    def one(hidden: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        logits: Tensor = head(hidden)
        logits = scale(wide(logits))
        tiles = {signal.temperature: Tile(logits / signal.temperature, targets) for signal in signals}
        return tuple(_read(signal, tiles[signal.temperature]) for signal in signals)

    return _tiled(one, hidden, targets, rows)


def read_outputs(head: nn.Module, hidden: Tensor, signals: tuple[Signal, ...]) -> list[Tensor]:
    """Signals of a classifier's head, in the order asked: [M] each; the parameter `label` picks one of several outputs."""
    outputs: Tensor = head(hidden)
    outputs, columns = wide(outputs), []
    for signal in signals:
        if signal.name not in OUTPUTS:
            raise ModelError(
                f"the signal '{signal.name}' needs a language-model head; this model is a classifier with 'score' and 'value'"
            )
        label = dict(signal.parameters).get("label")
        if label is None and outputs.shape[-1] != 1:
            raise ModelError(
                f"the signal '{signal.name}' needs a head with one output, this one has {outputs.shape[-1]}; load the model "
                "with num_labels=1, or name a `label`"
            )
        columns.append(outputs[:, int(label or 0)])
    return columns


def _read(signal: Signal, tile: Tile) -> Tensor:
    if signal.tile is not None:
        return signal.tile(tile.logits, tile.targets)
    if signal.name in WITHOUT_GRADIENT:
        with torch.no_grad():
            return VOCABULARY[signal.name](Tile(tile.logits, tile.targets))
    return VOCABULARY[signal.name](tile)


def _tiled(one: Callable[[Tensor, Tensor], tuple[Tensor, ...]], hidden: Tensor, targets: Tensor, rows: int) -> list[Tensor]:
    """`one` over tiles of `rows`, put end to end."""
    pieces = zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
    if torch.is_grad_enabled():
        tiles = [checkpoint(one, *piece, use_reentrant=False) for piece in pieces]
    else:
        tiles = [one(*piece) for piece in pieces]
    return [torch.cat(columns) for columns in zip(*tiles, strict=True)]

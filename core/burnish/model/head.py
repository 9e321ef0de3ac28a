"""The head, a tile of scored positions at a time: hidden states become numbers, logits never outlive their tile.

In: the head module itself, hidden states of the scored positions, targets, signals. Out: one float32 vector per signal. A plain
linear head is differentiated by hand (`linear_head`); any other one, and any other signal, makes every tile a checkpoint, so
that neither logits nor probabilities are kept for the backward pass.
Shapes: n tile, M scored tokens, H hidden, V vocabulary (or labels of a classifier).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from burnish.errors import ModelError, did_you_mean
from burnish.model.divergence import divergence_of
from burnish.model.linear_head import is_plain, read_linear
from burnish.model.signals import Signal
from burnish.model.tile import VOCABULARY, WITHOUT_GRADIENT, LogitScale, Tile, wide


@dataclass(frozen=True, slots=True, eq=False)
class Beside:
    """A frozen model at the policy's scored positions. hidden: [M, H']. logits: its head, [n, H'] to wide logits [n, V']."""

    hidden: Tensor
    logits: Callable[[Tensor], Tensor]

    def row(self) -> Beside:
        """One row of zeros, where there is nothing to compare but every process compares."""
        return replace(self, hidden=self.hidden.new_zeros(1, self.hidden.shape[-1]))


COMPARING = frozenset({"divergence"})  # of this head's logits and those beside them
OUTPUTS = frozenset({"score", "value", "label_logp"})  # read from a classifier's head, not from a vocabulary


def read_vocabulary(
    head: nn.Module,
    scale: LogitScale,
    hidden: Tensor,
    targets: Tensor,
    signals: tuple[Signal, ...],
    rows: int,
    beside: Beside | None = None,
) -> list[Tensor]:
    """Signals of a language-model head, in the order asked: [M] each.

    hidden: [M, H]; targets: [M]; rows: the tile size; beside: the model that signals compare with, its tiles along with these.
    Raises ModelError for a signal without a rule.
    """
    for signal in signals:
        if signal.tile is None and signal.name not in {*VOCABULARY, *COMPARING}:
            raise ModelError(f"no signal named '{signal.name}' in a vocabulary. {did_you_mean(signal.name, VOCABULARY)}")
        if signal.beside is not None and beside is None:
            raise ModelError(f"the signal '{signal.name}' compares with the {signal.beside}, and there is none here")

    if is_plain(head, signals):
        return read_linear(head, scale, hidden, targets, signals, rows)

    # With gradients first: when a checkpoint recomputes the tile, it stops at the last tensor that the backward pass needs.
    order = sorted(signals, key=lambda signal: signal.name in WITHOUT_GRADIENT)

    def one(hidden: Tensor, targets: Tensor, other: Tensor | None, known: dict[float, dict[str, Tensor]]) -> tuple[Tensor, ...]:
        raw: Tensor = head(hidden)
        logits = scale(wide(raw))
        theirs = None if other is None or beside is None else beside.logits(other)
        tiles = {
            temperature: Tile(
                logits if temperature == 1 else logits / temperature,
                targets,
                known.setdefault(temperature, {}),
                theirs if theirs is None or temperature == 1 else theirs / temperature,
            )
            for temperature in {signal.temperature for signal in signals}
        }
        values = {signal: _read(signal, tiles[signal.temperature]) for signal in order}
        return tuple(values[signal] for signal in signals)

    run = partial(checkpoint, one, use_reentrant=False) if torch.is_grad_enabled() else one
    own = torch.split(hidden, rows)
    others = [None] * len(own) if beside is None else torch.split(beside.hidden, rows)
    columns = [run(*piece, {}) for piece in zip(own, torch.split(targets, rows), others, strict=True)]
    return [torch.cat(values) for values in zip(*columns, strict=True)]


def read_outputs(head: nn.Module, hidden: Tensor, signals: tuple[Signal, ...]) -> list[Tensor]:
    """Signals of a classifier's head, in the order asked: [M] each; the parameter `label` picks one of several outputs."""
    outputs: Tensor = head(hidden)
    outputs, columns = wide(outputs), []
    for signal in signals:
        if signal.name not in OUTPUTS:
            raise ModelError(
                f"the signal '{signal.name}' needs a language-model head; this model is a classifier with "
                f"{', '.join(sorted(OUTPUTS))}"
            )
        label = dict(signal.parameters).get("label")
        if label is None and outputs.shape[-1] != 1:
            raise ModelError(
                f"the signal '{signal.name}' needs a head with one output, this one has {outputs.shape[-1]}; load the model "
                "with num_labels=1, or name a `label`"
            )
        if int(label or 0) >= outputs.shape[-1] or (signal.name == "label_logp" and outputs.shape[-1] == 1):
            raise ModelError(
                f"the signal '{signal.name}' reads label {label:g} of at least two; this head has {outputs.shape[-1]} outputs"
            )
        read = outputs.log_softmax(-1) if signal.name == "label_logp" else outputs
        columns.append(read[:, int(label or 0)])
    return columns


def _read(signal: Signal, tile: Tile) -> Tensor:
    if signal.tile is not None:
        return signal.tile(tile.logits, tile.targets)
    if tile.teacher is not None and signal.name in COMPARING:
        return divergence_of(tile.logits, tile.teacher, signal)
    if signal.name in WITHOUT_GRADIENT:
        with torch.no_grad():
            return VOCABULARY[signal.name](tile)
    return VOCABULARY[signal.name](tile)

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
from burnish.model.divergence import Sampled, divergence_of
from burnish.model.linear_head import is_plain, read_linear
from burnish.model.signals import Role, Signal
from burnish.model.tile import VOCABULARY, WITHOUT_GRADIENT, LogitScale, Tile, read_tile, wide


@dataclass(frozen=True, slots=True, eq=False)
class Beside:
    """What signals compare the policy with at its scored positions. hidden: [M, H'], of a frozen model. logits: its head,
    [n, H'] to wide logits [n, V']. sampled: what the sampler said of the M targets."""

    hidden: Tensor | None = None
    logits: Callable[[Tensor], Tensor] | None = None
    sampled: Sampled | None = None

    def row(self) -> Beside:
        """One row of zeros, where there is nothing to compare but every process compares."""
        hidden = None if self.hidden is None else self.hidden.new_zeros(1, self.hidden.shape[-1])
        return replace(self, hidden=hidden, sampled=None if self.sampled is None else self.sampled.row())

    def cut(self, part: slice) -> Beside:
        """At some of the positions."""
        hidden = None if self.hidden is None else self.hidden[part]
        return replace(self, hidden=hidden, sampled=None if self.sampled is None else self.sampled.cut(part))

    def has(self, role: Role | None) -> bool:
        """Whether what is compared with is here."""
        return (role != "teacher" or self.hidden is not None) and (role != "behaviour" or self.sampled is not None)


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

    hidden: [M, H]; targets: [M]; rows: the tile size; beside: what signals compare with, cut into tiles along with these.
    Raises ModelError for a signal without a rule.
    """
    beside = beside or Beside()
    for signal in signals:
        if signal.tile is None and signal.name not in {*VOCABULARY, *COMPARING}:
            raise ModelError(f"no signal named '{signal.name}' in a vocabulary. {did_you_mean(signal.name, VOCABULARY)}")
        if not beside.has(signal.beside):
            raise ModelError(f"the signal '{signal.name}' compares with the {signal.beside}, and there is none here")

    if is_plain(head, signals):
        return read_linear(head, scale, hidden, targets, signals, rows, beside.sampled)

    # With gradients first: when a checkpoint recomputes the tile, it stops at the last tensor that the backward pass needs.
    order = sorted(signals, key=lambda signal: signal.name in WITHOUT_GRADIENT)

    def one(hidden: Tensor, targets: Tensor, beside: Beside, known: dict[float, dict[str, Tensor]]) -> tuple[Tensor, ...]:
        raw: Tensor = head(hidden)
        logits = scale(wide(raw))
        theirs = None if beside.hidden is None or beside.logits is None else beside.logits(beside.hidden)
        tiles = {
            temperature: Tile(
                logits if temperature == 1 else logits / temperature,
                targets,
                known.setdefault(temperature, {}),
                theirs if theirs is None or temperature == 1 else theirs / temperature,
                beside.sampled,
            )
            for temperature in {signal.temperature for signal in signals}
        }
        values = {signal: _read(signal, tiles[signal.temperature]) for signal in order}
        return tuple(values[signal] for signal in signals)

    run = partial(checkpoint, one, use_reentrant=False) if torch.is_grad_enabled() else one
    parts = [slice(start, start + rows) for start in range(0, len(hidden), rows)]
    columns = [run(hidden[part], targets[part], beside.cut(part), {}) for part in parts]
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
            return read_tile(tile, signal)
    return read_tile(tile, signal)

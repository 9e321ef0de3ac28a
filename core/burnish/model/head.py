"""The head, a tile of scored positions at a time: hidden states become numbers, logits never outlive their tile.

In: the head module itself, hidden states of the scored positions, targets, signals. Out: one float32 vector per signal. With
gradients every tile is a checkpoint, so neither logits nor probabilities are kept for the backward pass.
Shapes: n tile, M scored tokens, H hidden, V vocabulary (or labels of a classifier).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from burnish.errors import ModelError, did_you_mean
from burnish.model.divergence import LOWEST, divergence_of
from burnish.model.signals import Signal

# Logits held at once: 128 MiB of float32 on a CPU, 512 MiB on a GPU. Every tile adds to the whole gradient of the head, so
# smaller tiles, and fewer than MIN_ROWS in any case, are slower (a third at 2**22 elements, 85 rows, measured on 2 cores).
CPU_TILE_ELEMENTS, GPU_TILE_ELEMENTS, MIN_ROWS = 2**25, 2**27, 128


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


@dataclass(frozen=True, slots=True, eq=False)
class Beside:
    """A frozen model at the policy's scored positions. hidden: [M, H']. logits: its head, [n, H'] to wide logits [n, V']."""

    hidden: Tensor
    logits: Callable[[Tensor], Tensor]

    def row(self) -> Beside:
        """One row of zeros, where there is nothing to compare but every process compares."""
        return replace(self, hidden=self.hidden.new_zeros(1, self.hidden.shape[-1]))


class Tile:
    """Logits of a tile, divided by a temperature, and what several signals take from them, computed once.

    teacher: the logits beside them, divided likewise, where a signal compares the two.
    known: [n] numbers of an earlier pass over the same tile; the recomputation in the backward pass reads them and so needs
    nothing of the logits but the logits. Reductions are detached: logp and entropy bring gradients of their own.
    """

    def __init__(self, logits: Tensor, targets: Tensor, known: dict[str, Tensor], teacher: Tensor | None = None) -> None:
        self.logits, self.targets, self.teacher, self._known = logits, targets, teacher, known  # [n, V], [n]

    def logp(self) -> Tensor:
        """[n], nats."""
        value: Tensor = _Logp.apply(self.logits, self.targets, self._once("logsumexp", self._logsumexp))  # type: ignore[no-untyped-call]
        return value

    def entropy(self) -> Tensor:
        """[n], nats."""
        logsumexp = self._once("logsumexp", self._logsumexp)
        value: Tensor = _Entropy.apply(self.logits, logsumexp, self._once("entropy", self._entropy))  # type: ignore[no-untyped-call]
        return value

    def top1(self) -> Tensor:
        """[n], 1 where no logit is above the target's."""
        return (self.logits.gather(-1, self.targets[:, None]) == self._largest).to(self.logits)[:, 0]

    def mean_logit(self) -> Tensor:
        """[n]."""
        return self.logits.mean(-1)

    def sum_p2(self) -> Tensor:
        """[n], probability that two draws agree."""
        squares: Tensor = torch.linalg.vecdot(self._weights, self._weights)
        return squares / self._total**2

    @cached_property
    def _largest(self) -> Tensor:
        return self.logits.detach().amax(-1, keepdim=True)  # [n, 1]

    @cached_property
    def _shifted(self) -> Tensor:
        return (self.logits.detach() - self._largest).clamp_min_(LOWEST)  # [n, V]

    @cached_property
    def _weights(self) -> Tensor:
        return self._shifted.exp()  # [n, V], probabilities times `_total`

    @cached_property
    def _total(self) -> Tensor:
        return self._weights.sum(-1)  # [n]

    def _logsumexp(self) -> Tensor:
        return self._largest[:, 0] + self._total.log()

    def _entropy(self) -> Tensor:
        mean: Tensor = torch.linalg.vecdot(self._weights, self._shifted) / self._total
        return self._total.log() - mean

    def _once(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        if name not in self._known:
            self._known[name] = compute()
        return self._known[name]


class _Logp(torch.autograd.Function):
    """l_t - logsumexp l; d/dl_j = [j = t] - p_j. In place where autograd's own chain would write four more [n, V]."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, logsumexp: Tensor) -> Tensor:
        ctx.save_for_backward(logits, targets, logsumexp)
        return logits.gather(-1, targets[:, None])[:, 0] - logsumexp

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (logits, targets, logsumexp), [grad] = ctx.saved_tensors, grads
        d_logits = (logits - logsumexp[:, None]).exp_().mul_(-grad[:, None])
        return d_logits.scatter_add_(-1, targets[:, None], grad[:, None]), None, None


class _Entropy(torch.autograd.Function):
    """-sum p log p; d/dl_j = -p_j (log p_j + entropy)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, logsumexp: Tensor, entropy: Tensor) -> Tensor:
        ctx.save_for_backward(logits, logsumexp, entropy)
        return entropy.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (logits, logsumexp, entropy), [grad] = ctx.saved_tensors, grads
        logp = (logits - logsumexp[:, None]).clamp_min_(LOWEST)
        p = logp.exp()
        return p.mul_(logp.add_(entropy[:, None]).mul_(-grad[:, None])), None, None


VOCABULARY: dict[str, Callable[[Tile], Tensor]] = {
    "logp": Tile.logp,
    "entropy": Tile.entropy,
    "top1": Tile.top1,
    "mean_logit": Tile.mean_logit,
    "sum_p2": Tile.sum_p2,
}
COMPARING = frozenset({"divergence"})  # of this head's logits and those beside them
WITHOUT_GRADIENT = frozenset({"top1", "mean_logit", "sum_p2"})
OUTPUTS = frozenset({"score", "value", "label_logp"})  # read from a classifier's head, not from a vocabulary


def wide(logits: Tensor) -> Tensor:
    """Logits in the precision that signals are computed in: float64 for float64 models, else float32."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def tile_rows(num_outputs: int, device: torch.device) -> int:
    """Scored positions per tile for a head of `num_outputs`."""
    elements = CPU_TILE_ELEMENTS if device.type == "cpu" else GPU_TILE_ELEMENTS
    return max(elements // num_outputs, MIN_ROWS)


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

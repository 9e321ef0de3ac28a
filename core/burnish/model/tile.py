"""Logits of a tile of positions, and what signals take from them.

In: what a head makes of a few hidden states. Out: one number per position and signal. Knows no model, and not where the tile
came from. Shapes: n positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from burnish.model.divergence import LOWEST, Sampled, sampler_divergence_of
from burnish.model.signals import Between, Signal

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


class Tile:
    """Logits of a tile, divided by a temperature, and what several signals take from them, computed once.

    known: [n] numbers of an earlier pass over the same tile; the recomputation in the backward pass reads them and so needs
    nothing of the logits but the logits. teacher: the logits beside them, divided likewise; sampled: what the sampler said of
    the targets; both where a signal compares with them. Reductions are detached: logp and entropy bring gradients of their own.
    """

    def __init__(
        self,
        logits: Tensor,
        targets: Tensor,
        known: dict[str, Tensor],
        teacher: Tensor | None = None,
        sampled: Sampled | None = None,
    ) -> None:
        self.logits, self.targets, self.known = logits, targets, known  # [n, V], [n]
        self.teacher, self.sampled = teacher, sampled

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

    def sampler_divergence(self, between: Between, top_k: float) -> Tensor:
        """[n], from the distribution that the targets were drawn from, of which so many of the likeliest tokens are known."""
        assert self.sampled is not None
        logsumexp, known = self._once("logsumexp", self._logsumexp), self.sampled.narrowed(int(top_k))
        return sampler_divergence_of(self.logits.detach(), logsumexp, known, between)

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
        if name not in self.known:
            self.known[name] = compute()
        return self.known[name]


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


VOCABULARY: dict[str, Callable[..., Tensor]] = {
    "logp": Tile.logp,
    "entropy": Tile.entropy,
    "top1": Tile.top1,
    "mean_logit": Tile.mean_logit,
    "sum_p2": Tile.sum_p2,
    "sampler_divergence": Tile.sampler_divergence,
}
"""Signals of one head's own tile, by name; their parameters are arguments."""
WITHOUT_GRADIENT = frozenset({"top1", "mean_logit", "sum_p2", "sampler_divergence"})


def read_tile(tile: Tile, signal: Signal) -> Tensor:
    """A signal of `VOCABULARY` at every position: [n]."""
    return VOCABULARY[signal.name](tile, **dict(signal.parameters))


def wide(logits: Tensor) -> Tensor:
    """Logits in the precision that signals are computed in: float64 for float64 models, else float32."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def tile_rows(num_outputs: int, device: torch.device) -> int:
    """Scored positions per tile for a head of `num_outputs`."""
    elements = CPU_TILE_ELEMENTS if device.type == "cpu" else GPU_TILE_ELEMENTS
    return max(elements // num_outputs, MIN_ROWS)

"""Losses with one bug each, as people write them; the tests say which check finds it. Each would be right without its bug."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from burnish.data.units import Sequence, Unit
from burnish.model.signals import Signal, entropy, logp
from burnish.objective import Metric, Pairs, Sequences, Terms

POLICY, BOTH = frozenset({logp()}), frozenset({logp(), logp("reference")})
END = 260  # the tiny tokenizer's end of sequence, which pads in many models


@dataclass(frozen=True, kw_only=True)
class Preference:
    """No bug: the kit has nothing to say.

        L = -log sigmoid(beta (r_w - r_l))
    Source: none.
    Degenerate: policy == reference gives log 2.
        >>> L(unmoved) == log(2)
    """

    beta: float = 0.1
    """Slope; above 0."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")

    def signals(self) -> frozenset[Signal]:
        return BOTH

    def __call__(self, batch: Pairs) -> Terms:
        return Terms(pair=-logsigmoid(self.beta * gap(batch)), metrics={"gap": Metric(gap(batch))})


def gap(batch: Pairs) -> Tensor:
    return batch.chosen.log_ratio.sum() - batch.rejected.log_ratio.sum()


@dataclass(frozen=True, kw_only=True)
class LocalTokenCount:
    """Divides by the tokens of the micro-batch."""

    def signals(self) -> frozenset[Signal]:
        return POLICY

    def __call__(self, batch: Sequences) -> Terms:
        return Terms(token=-batch.logp / float(batch.lengths.sum()))


@dataclass(frozen=True, kw_only=True)
class DoubleReduction:
    """Is a mean already."""

    def signals(self) -> frozenset[Signal]:
        return BOTH

    def __call__(self, batch: Pairs) -> Terms:
        return Terms(pair=-logsigmoid(gap(batch)) / len(batch))


@dataclass(frozen=True, kw_only=True)
class PadIsEnd:
    """Masks the id of padding, which is that of the end of an answer."""

    pad_token_id: int = END

    def signals(self) -> frozenset[Signal]:
        return POLICY

    def derive(self, units: tuple[Unit, ...], pairing: tuple[int, ...]) -> list[tuple[Sequence, ...]]:
        return [(self._unpadded(unit.sequences[0]),) for unit in units]

    def __call__(self, batch: Sequences) -> Terms:
        return Terms(sequence=(batch.logp.sum() - batch.derived("unpadded").logp.sum() - 1) ** 2)

    def _unpadded(self, sequence: Sequence) -> Sequence:
        masks = {name: mask & (sequence.ids != self.pad_token_id) for name, mask in sequence.masks.items()}
        return replace(sequence, masks=masks, role="unpadded")


@dataclass(frozen=True, kw_only=True)
class LeakedReference:
    """Lets a gradient reach the reference."""

    def signals(self) -> frozenset[Signal]:
        return BOTH

    def __call__(self, batch: Pairs) -> Terms:
        batch.chosen.signal(logp("reference")).values.requires_grad_()
        return Terms(pair=-logsigmoid(gap(batch)))


@dataclass(frozen=True, kw_only=True)
class SumForMean:
    """Adds up where it says mean.

        L = -log sigmoid(mean lp_w - mean lp_l - gamma)
    Source: none.
    Degenerate: answers of equal mean log-probability.
        >>> L(uniform) == log(1 + exp(gamma))
    """

    gamma: float = 0.5
    """Margin; any number."""

    def signals(self) -> frozenset[Signal]:
        return POLICY

    def __call__(self, batch: Pairs) -> Terms:
        return Terms(pair=-logsigmoid(batch.chosen.logp.sum() - batch.rejected.logp.sum() - self.gamma))


@dataclass(frozen=True, kw_only=True)
class SumForTokens:
    """Declares a mean over tokens and gives sums per sequence."""

    reduction: ClassVar[str] = "token_mean"

    def signals(self) -> frozenset[Signal]:
        return POLICY

    def __call__(self, batch: Sequences) -> Terms:
        return Terms(sequence=-batch.logp.sum())


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """Compares a pair with the one before it."""

    def signals(self) -> frozenset[Signal]:
        return BOTH

    def __call__(self, batch: Pairs) -> Terms:
        return Terms(pair=-logsigmoid(gap(batch) - gap(batch).detach().roll(1)))


@dataclass(frozen=True, kw_only=True)
class Ddof:
    """Divides by the deviation with n - 1 below it, which one pair does not have."""

    def signals(self) -> frozenset[Signal]:
        return BOTH

    def statistic(self, batch: Pairs, state: None) -> tuple[Mapping[str, Tensor], None]:
        return {"std": gap(batch).std(correction=1)}, None

    def __call__(self, batch: Pairs) -> Terms:
        std: Any = batch.statistic["std"]
        return Terms(pair=-logsigmoid(gap(batch) / std))


@dataclass(frozen=True, kw_only=True)
class WrongSign:
    """Raises both answers."""

    def signals(self) -> frozenset[Signal]:
        return BOTH

    def __call__(self, batch: Pairs) -> Terms:
        return Terms(pair=-logsigmoid(batch.chosen.log_ratio.sum() + batch.rejected.log_ratio.sum()))


@dataclass(frozen=True, kw_only=True)
class Undeclared:
    """Reads what it does not declare."""

    def signals(self) -> frozenset[Signal]:
        return POLICY

    def __call__(self, batch: Pairs) -> Terms:
        return Terms(pair=-logsigmoid(gap(batch)))


@dataclass(frozen=True, kw_only=True)
class Unread:
    """Declares what it does not read."""

    def signals(self) -> frozenset[Signal]:
        return BOTH | {entropy()}

    def __call__(self, batch: Pairs) -> Terms:
        return Terms(pair=-logsigmoid(gap(batch)))


@dataclass(frozen=True, kw_only=True)
class MetricNowAndThen:
    """Gives a metric only where something occurs."""

    def signals(self) -> frozenset[Signal]:
        return BOTH

    def __call__(self, batch: Pairs) -> Terms:
        wrong = gap(batch) < 0
        return Terms(pair=-logsigmoid(gap(batch)), metrics={"wrong": Metric(gap(batch)[wrong])} if wrong.any() else {})


@dataclass(frozen=True, kw_only=True)
class MetricOnRank:
    """Gives a metric on one rank only."""

    def signals(self) -> frozenset[Signal]:
        return BOTH

    def __call__(self, batch: Pairs) -> Terms:
        is_first = not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
        return Terms(pair=-logsigmoid(gap(batch)), metrics={"gap": Metric(gap(batch))} if is_first else {})


@dataclass(frozen=True, kw_only=True)
class ReducedMetric:
    """Averages a metric before it is given."""

    def signals(self) -> frozenset[Signal]:
        return BOTH

    def __call__(self, batch: Pairs) -> Terms:
        return Terms(pair=-logsigmoid(gap(batch)), metrics={"gap": Metric(gap(batch).mean()[None])})


@dataclass(frozen=True, kw_only=True)
class FirstTargetLeftOut:
    """A mask off by one: the first target does not count."""

    def signals(self) -> frozenset[Signal]:
        return POLICY

    def __call__(self, batch: Sequences) -> Terms:
        return Terms(token=-batch.logp.map(lambda lp, offset: torch.where(offset > 0, lp, 0.0), batch.logp.offset))


@dataclass(frozen=True, kw_only=True)
class DerivedMaskOffByOne:
    """Derives a sequence whose targets begin a token early."""

    def signals(self) -> frozenset[Signal]:
        return POLICY

    def derive(self, units: tuple[Unit, ...], pairing: tuple[int, ...]) -> list[tuple[Sequence, ...]]:
        return [(early(unit.sequences[0]),) for unit in units]

    def __call__(self, batch: Sequences) -> Terms:
        return Terms(sequence=(batch.logp.mean() - batch.derived("early").logp.mean() - 1) ** 2)


def early(sequence: Sequence) -> Sequence:
    mask = sequence.masks["completion"] | np.append(sequence.masks["completion"][1:], False)
    mask[0] = False
    return replace(sequence, masks={"completion": mask}, role="early")


@dataclass(frozen=True, kw_only=True)
class Overflow:
    """log(sigmoid(x)), which is -inf where x is not even large."""

    def signals(self) -> frozenset[Signal]:
        return BOTH

    def __call__(self, batch: Pairs) -> Terms:
        return Terms(pair=-gap(batch).sigmoid().log())


class _Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        [x] = ctx.saved_tensors
        return grads[0] * x  # without the 2


@dataclass(frozen=True, kw_only=True)
class WrongBackward:
    """A square whose backward pass forgets the 2."""

    def signals(self) -> frozenset[Signal]:
        return BOTH

    def __call__(self, batch: Pairs) -> Terms:
        squared: Tensor = _Square.apply(gap(batch) - 1)  # type: ignore[no-untyped-call]
        return Terms(pair=squared)


@dataclass(frozen=True, kw_only=True)
class Detached:
    """Has no gradient."""

    def signals(self) -> frozenset[Signal]:
        return BOTH

    def __call__(self, batch: Pairs) -> Terms:
        return Terms(pair=-logsigmoid(gap(batch).detach()))


@dataclass(frozen=True, kw_only=True)
class Rolled:
    """Rolls dice."""

    def signals(self) -> frozenset[Signal]:
        return BOTH

    def __call__(self, batch: Pairs) -> Terms:
        return Terms(pair=-logsigmoid(gap(batch) * torch.rand(())))


@dataclass(frozen=True, kw_only=True)
class TensorState:
    """Remembers a tensor, which no checkpoint holds."""

    def signals(self) -> frozenset[Signal]:
        return BOTH

    def statistic(self, batch: Pairs, state: Any) -> tuple[Mapping[str, Tensor], Any]:
        mean = gap(batch).mean()
        return {"mean": mean}, {"mean": mean}

    def __call__(self, batch: Pairs) -> Terms:
        mean: Any = batch.statistic["mean"]
        return Terms(pair=-logsigmoid(gap(batch) - mean))


@dataclass(frozen=True, kw_only=True)
class OpenEnded:
    """Accepts what lies outside its range, and what is no number."""

    beta: float = 0.1
    """Slope; above 0."""

    def __post_init__(self) -> None:
        if self.beta <= 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")

    def signals(self) -> frozenset[Signal]:
        return BOTH

    def __call__(self, batch: Pairs) -> Terms:
        return Terms(pair=-logsigmoid(self.beta * gap(batch)))


@dataclass(frozen=True, kw_only=True)
class WrongConstant:
    """Half of what it says.

        L = -log sigmoid(h) / log 2
    Source: none.
    Degenerate: policy == reference gives 1.
        >>> L(unmoved) == 1
    """

    def signals(self) -> frozenset[Signal]:
        return BOTH

    def __call__(self, batch: Pairs) -> Terms:
        return Terms(pair=-logsigmoid(gap(batch)) / (2 * math.log(2)))


@dataclass(frozen=True, kw_only=True)
class MeanOfNothing:
    """Divides by the number of targets, which one side may not have."""

    def signals(self) -> frozenset[Signal]:
        return BOTH

    def __call__(self, batch: Pairs) -> Terms:
        chosen, rejected = (side.log_ratio.sum() / side.lengths for side in (batch.chosen, batch.rejected))
        return Terms(pair=-logsigmoid(chosen - rejected))


@dataclass(frozen=True, kw_only=True)
class SidesInMetrics:
    """Calls the rejected answers' rewards those of the chosen ones."""

    def signals(self) -> frozenset[Signal]:
        return BOTH

    def __call__(self, batch: Pairs) -> Terms:
        metrics = {"rewards/chosen": Metric(batch.rejected.log_ratio.sum())}
        return Terms(pair=-logsigmoid(gap(batch)), metrics=metrics)

"""Losses and weights that use what the shipped four do not: derived sequences, statistics, coupling, selections; and broken
ones."""

from __future__ import annotations

from collections.abc import Sequence as List
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from burnish.data.units import Sequence, Unit
from burnish.model.signals import Signal, entropy, logp
from burnish.objective import Metric, Pairs, Ragged, Sequences, Terms

WITH_REFERENCE = frozenset({logp(), logp("reference")})


@dataclass(frozen=True, kw_only=True)
class Mismatched:
    """Each completion against the batch's mean on mismatched ones: sigmoid(z - r), z = mean of r(x_i, y_p(i)), as KTO does."""

    reduction: ClassVar[str] = "sequence_mean"

    def signals(self) -> frozenset[Signal]:
        return WITH_REFERENCE

    def derive(self, units: tuple[Unit, ...], pairing: tuple[int, ...]) -> list[tuple[Sequence, ...]]:
        return [(_joined(unit.sequences[0], units[other].sequences[0]),) for unit, other in zip(units, pairing, strict=True)]

    statistic_on: ClassVar[tuple[str, ...]] = ("mismatched",)

    def statistic(self, batch: Sequences, state: None) -> tuple[dict[str, Tensor], None]:
        return {"z": batch.derived("mismatched").log_ratio.sum().mean()}, None

    def __call__(self, batch: Sequences) -> Terms:
        z = batch.statistic["z"]
        return Terms(sequence=torch.sigmoid(z - batch.log_ratio.sum()), metrics={"z": Metric(torch.as_tensor(z).reshape(1))})


@dataclass(frozen=True, kw_only=True)
class AtTheEnd:
    """The likelihood of the last token alone."""

    targets: ClassVar[str] = "end"

    def signals(self) -> frozenset[Signal]:
        return frozenset({logp()})

    def __call__(self, batch: Sequences) -> Terms:
        return Terms(token=-batch.logp)


def _joined(prompt: Sequence, completion: Sequence) -> Sequence:
    start, tail = int(prompt.masks["completion"].argmax()), completion.ids[completion.masks["completion"]]
    ids = np.concatenate([prompt.ids[:start], tail])
    return Sequence(ids, {"completion": np.arange(len(ids)) >= start}, role="mismatched")


@dataclass(frozen=True, kw_only=True)
class Shifted:
    """(r - m)^2 with m a running mean of r, moved by the current batch before it is used."""

    reduction: ClassVar[str] = "sequence_mean"
    momentum: float = 0.5

    def signals(self) -> frozenset[Signal]:
        return WITH_REFERENCE

    def statistic(self, batch: Sequences, state: float | None) -> tuple[dict[str, float], float]:
        mean = float(batch.log_ratio.sum().mean())
        shift = mean if state is None else self.momentum * state + (1 - self.momentum) * mean
        return {"m": shift}, shift

    def __call__(self, batch: Sequences) -> Terms:
        return Terms(sequence=(batch.log_ratio.sum() - batch.statistic["m"]) ** 2)


@dataclass(frozen=True, kw_only=True)
class Sorted:
    """DPO on sorted differences, as AOT does: the gradient of one pair depends on all."""

    coupling: ClassVar[str] = "batch"

    def signals(self) -> frozenset[Signal]:
        return WITH_REFERENCE

    def __call__(self, batch: Pairs) -> Terms:
        policy = (batch.chosen.logp.sum() - batch.rejected.logp.sum()).sort().values
        reference = logp("reference")
        frozen = (batch.chosen.signal(reference).sum() - batch.rejected.signal(reference).sum()).sort().values
        h = 0.1 * (policy - frozen)
        return Terms(pair=-torch.nn.functional.logsigmoid(h), metrics={"h": Metric(h)})


@dataclass(frozen=True, kw_only=True)
class Decided:
    """Pairs without a tie: `keeps` looks at fields alone."""

    def signals(self) -> frozenset[Signal]:
        return frozenset({logp()})

    def keeps(self, batch: Pairs) -> Tensor:
        return batch.scalar("margin", 1.0) != 0

    def __call__(self, batch: Pairs) -> Terms:
        return Terms(
            pair=batch.rejected.logp.mean() - batch.chosen.logp.mean(),
            metrics={"pairs": Metric(torch.ones(len(batch)), how="sum")},
        )


@dataclass(frozen=True, kw_only=True)
class BestHalf:
    """-lp of the likelier half of the sequences: the selection is a statistic and shrinks the denominator."""

    reduction: ClassVar[str] = "sequence_mean"

    def signals(self) -> frozenset[Signal]:
        return frozenset({logp()})

    def statistic(self, batch: Sequences, state: None) -> tuple[dict[str, Tensor], None]:
        means = batch.logp.mean()
        return {"keep": means >= means.median(), "rank": means.argsort().argsort()}, None

    def __call__(self, batch: Sequences) -> Terms:
        return Terms(sequence=-batch.logp.mean(), metrics={"rank": Metric(torch.as_tensor(batch.statistic["rank"]))})


@dataclass(frozen=True, kw_only=True)
class Likely:
    """A weight per sequence: exp(mean lp)."""

    def signals(self) -> frozenset[Signal]:
        return frozenset({logp()})

    def __call__(self, batch: Sequences) -> Terms:
        weights = batch.logp.mean().exp()
        return Terms(sequence=weights, metrics={"weights": Metric(weights)})


@dataclass(frozen=True, kw_only=True)
class TopEntropy:
    """A weight per token: 1 for the share `keep` of the batch's tokens whose entropy is highest, else 0."""

    keep: float

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ValueError(f"keep must lie in (0, 1], got {self.keep}")

    def signals(self) -> frozenset[Signal]:
        return frozenset({entropy()})

    def statistic(self, batch: Sequences, state: None) -> tuple[dict[str, float], None]:
        return {"least": float(batch.signal(entropy()).values.quantile(1 - self.keep))}, None

    def __call__(self, batch: Sequences) -> Terms:
        least = batch.statistic["least"]
        return Terms(token=batch.signal(entropy()).map(lambda values: (values >= least).to(values)))


@dataclass(frozen=True, kw_only=True)
class Long:
    """A mask: sequences of fewer than `least` targets leave the loss and its denominator."""

    least: int

    def signals(self) -> frozenset[Signal]:
        return frozenset()

    def keeps(self, batch: Sequences) -> Tensor:
        return batch.lengths >= self.least

    def __call__(self, batch: Sequences) -> Terms:
        return Terms(sequence=torch.ones(len(batch)))


@dataclass(frozen=True, kw_only=True)
class Broken:
    """Returns what it is told to."""

    how: str = "fine"

    def signals(self) -> frozenset[Signal]:
        return frozenset({logp()})

    def __call__(self, batch: Pairs) -> Any:
        h = batch.chosen.logp.sum() - batch.rejected.logp.sum()
        if self.how == "undeclared":
            return Terms(pair=batch.chosen.log_ratio.sum())
        if self.how == "entropy":
            return Terms(pair=batch.chosen.signal(entropy()).mean())
        if self.how == "field":
            return Terms(pair=batch.chosen.field("advantages").sum())
        if self.how == "column":
            return Terms(pair=h * batch.scalar("temperature"))
        if self.how == "derived":
            return Terms(pair=h + batch.derived("other").logp.sum())
        if self.how == "sometimes":
            return Terms(pair=h, metrics={"often": Metric(h), **({"seldom": Metric(h)} if len(batch) == 1 else {})})
        returned = {
            "fine": lambda: Terms(pair=h),
            "reduced": lambda: Terms(pair=h.mean()),
            "reduced_metric": lambda: Terms(pair=h, metrics={"h": Metric(h.mean())}),
            "shape": lambda: Terms(pair=torch.cat([h, h])),
            "level": lambda: Terms(sequence=h),
            "ragged": lambda: Terms(pair=batch.chosen.logp),  # type: ignore[arg-type]
            "two": lambda: Terms(pair=h, sequence=h),
            "tensor": lambda: h,
            "nan": lambda: Terms(pair=h / (h > h.min()).to(h) ** 0.5),
        }
        return returned[self.how]()


@dataclass(frozen=True, kw_only=True)
class OtherTokens:
    """Terms per token that are not the batch's own."""

    def signals(self) -> frozenset[Signal]:
        return frozenset({logp()})

    def __call__(self, batch: Sequences) -> Terms:
        return Terms(token=Ragged(batch.logp.values[:-1], batch.lengths - torch.eye(len(batch), dtype=torch.int64)[-1]))


@dataclass(frozen=True, kw_only=True)
class Reserving:
    """Has a field that every entry reserves."""

    weight: float = 1.0

    def signals(self) -> frozenset[Signal]:
        return frozenset({logp()})

    def __call__(self, batch: Sequences) -> Terms:
        return Terms(token=-batch.logp)


def twice(units: List[Unit]) -> list[Unit]:
    """Every unit once more."""
    return [*units, *(replace(unit) for unit in units)]

"""Learning from the most uncertain tokens: the weight."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from burnish.model.signals import Signal, entropy
from burnish.objective import Metric, Ragged, Sequences, Terms


@dataclass(frozen=True, kw_only=True)
class TopEntropy:
    """Learning from the most uncertain tokens: where the policy could as well have gone on otherwise.

        w = 1 where H >= the (1 - keep) quantile of H over all tokens of the global batch, else 0

    H: entropy of the policy's next-token distribution, nats. Tokens are chosen once per global batch, with a forward pass
    without gradient. The denominator stays.
    Source: Wang et al. 2025, arXiv:2506.01939, eq. 5. Deviations: none.
    Shapes: w, H are [tokens].
    Degenerate: tokens of equal entropy are all kept; keep = 1 keeps every one.
        >>> w(uniform) == 1
        >>> w(unmoved, keep=1.0) == 1
    """

    keep: float = 0.2
    """Share of the tokens that are learnt from; in (0, 1]."""

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ValueError(f"keep must lie in (0, 1], got {self.keep}")

    def signals(self) -> frozenset[Signal]:
        """The policy's entropy."""
        return frozenset({entropy()})

    def statistic(self, batch: Sequences, state: None) -> tuple[Mapping[str, Ragged], None]:
        """Which tokens are kept: those not below the quantile's upper neighbour among them."""
        spread = batch.signal(entropy())
        rank = math.ceil((1 - self.keep) * (len(spread.values) - 1) - 1e-9)
        lowest = spread.values.kthvalue(rank + 1).values
        return {"kept": spread.map(lambda values: (values >= lowest).to(values))}, None

    def __call__(self, batch: Sequences) -> Terms:
        """One weight per token."""
        kept = cast("Ragged", batch.statistic["kept"])
        return Terms(token=kept, metrics={"top_entropy_kept": Metric(kept)})

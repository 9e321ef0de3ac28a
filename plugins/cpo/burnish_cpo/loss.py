"""Contrastive preference optimisation: the loss."""

from __future__ import annotations

from dataclasses import dataclass

from burnish.model.signals import Signal, logp
from burnish.objective import PAIR_METRICS, Form, Pairs, Terms, check_smoothing, contrast, pair_metrics


@dataclass(frozen=True, kw_only=True)
class CPO:
    """Contrastive preference optimisation: DPO against a uniform reference. Run it beside `sft` on the chosen answers.

        sigmoid    L = -(1 - e) log sigmoid(beta d) - e log sigmoid(-beta d)     d = sum lp_w - sum lp_l
        hinge      L = max(0, 1 - beta d)                                        d as above
        ipo        L = (d - 1 / (2 beta))^2                                      d = mean lp_w - mean lp_l
                                                       lp: over target tokens, nats
    Source: Xu et al. 2024, arXiv:2401.08417, eq. 3 (sigmoid, e = 0); the other forms as in SLiC (arXiv:2305.10425) and IPO
    (arXiv:2310.12036). Deviations: the likelihood of the chosen answer is a part of its own, `sft`; the recipe `cpo` has both.
    Shapes: d, L are [pairs]. Reduction: pair_mean.
    Degenerate: equally likely answers give log 2, 1 and 1 / (4 beta^2).
        >>> L(equal) == log(2)
        >>> L(equal, form="hinge") == 1
        >>> L(uniform, form="ipo") == 1 / (4 * beta**2)
    """

    beta: float = 0.1
    """Slope of the loss in the gap; above 0."""
    form: Form = "sigmoid"
    """Which loss of the gap."""
    label_smoothing: float = 0.0
    """Probability e that a preference is the wrong way round; 0 <= e < .5; form `sigmoid` only."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")
        check_smoothing(self.label_smoothing, self.form)

    def signals(self) -> frozenset[Signal]:
        """The policy's log-probabilities, and what the metrics of pairs read."""
        return PAIR_METRICS | {logp()}

    def __call__(self, batch: Pairs) -> Terms:
        """One term per pair."""
        lp_w, lp_l = batch.chosen.logp, batch.rejected.logp
        score_w, score_l = (lp_w.mean(), lp_l.mean()) if self.form == "ipo" else (lp_w.sum(), lp_l.sum())
        loss = contrast(self.form, score_w - score_l, self.beta, self.label_smoothing)
        return Terms(pair=loss, metrics=pair_metrics(batch, self.beta * score_w, self.beta * score_l))

"""Triple preference optimisation: the losses."""

from __future__ import annotations

from dataclasses import dataclass

from burnish.model.signals import Signal, logp
from burnish.objective import PAIR_METRICS, Form, Pairs, Terms, check_smoothing, contrast, logistic, pair_metrics


@dataclass(frozen=True, kw_only=True)
class TPO:
    """Triple preference optimisation: a contrast of two answers, to run beside `sft` on a third, the gold one.

        sigmoid    L = -(1 - e) log sigmoid(beta d) - e log sigmoid(-beta d)     d = sum lp_w - sum lp_l
        hinge      L = max(0, 1 - beta d)                                        d as above
        ipo        L = (d - 1 / (2 beta))^2                                      d = mean lp_w - mean lp_l
                                                       lp: over target tokens, nats
    Source: Saeidi et al. 2024, arXiv:2405.16681 (sigmoid, e = 0). Deviations: the likelihood of the gold answer is a
    part of its own, `sft`; the recipe `tpo` has both.
    Shapes: d, L are [pairs]. Reduction: pair_mean.
    Degenerate: equally likely answers give log 2, 1 and 1 / (4 beta^2).
        >>> L(equal) == log(2)
        >>> L(equal, form="hinge") == 1
        >>> L(uniform, form="ipo") == 1 / (4 * beta**2)
    """

    beta: float = 0.01
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


@dataclass(frozen=True, kw_only=True)
class TPOL:
    """Length-controlled triple preference optimisation: the contrast is of log-probabilities per token, with a margin.

        h = beta * (mean lp_w - mean lp_l) - gamma     lp: over target tokens, nats
        L = -(1 - e) log sigmoid(h) - e log sigmoid(-h)

    Source: Saeidi et al. 2024, arXiv:2405.16681. Deviations: as for `TPO`.
    Shapes: means, h, L are [pairs]. Reduction: pair_mean.
    Degenerate: answers of equal mean log-probability give log(1 + e^gamma), with e = 0.
        >>> L(equal) == log(1 + exp(gamma))
        >>> L(uniform) == log(1 + exp(gamma))
    """

    beta: float = 0.01
    """Slope of the loss in the mean log-probability; above 0."""
    gamma: float = 0.5
    """Margin by which the chosen answer must lead; at least 0."""
    label_smoothing: float = 0.0
    """Probability e that a preference is the wrong way round; 0 <= e < .5."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")
        if not self.gamma >= 0:
            raise ValueError(f"gamma must be at least 0, got {self.gamma}")
        check_smoothing(self.label_smoothing)

    def signals(self) -> frozenset[Signal]:
        """The policy's log-probabilities, and what the metrics of pairs read."""
        return PAIR_METRICS | {logp()}

    def __call__(self, batch: Pairs) -> Terms:
        """One term per pair."""
        r_w, r_l = self.beta * batch.chosen.logp.mean(), self.beta * batch.rejected.logp.mean()
        h = r_w - r_l - self.gamma
        return Terms(pair=logistic(h, self.label_smoothing), metrics=pair_metrics(batch, r_w, r_l))

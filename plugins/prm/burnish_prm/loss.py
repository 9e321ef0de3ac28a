"""Process reward models: the loss."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from burnish.model.signals import Signal, label_logp
from burnish.objective import Metric, Ragged, Sequences, Terms

WRONG, RIGHT = label_logp(0), label_logp(1)


@dataclass(frozen=True, kw_only=True)
class PRM:
    """Process supervision: every step of a solution is judged right or wrong, at its last token.

        L = -y log p - (1 - y) log(1 - p)              p: probability of `right`, y: the step's label, 0 to 1

    Source: Uesato et al. 2022, arXiv:2211.14275; Lightman et al. 2023, arXiv:2305.20050; soft labels: Wang et al. 2023,
    arXiv:2312.08935, eq. 5. Deviations: none. Where a step ends is said by `render.step_separator`; `targets: last_step`
    learns from the last step alone.
    Shapes: p, y, L are [steps], ragged; L in nats. Reduction: token_mean, over steps.
    Degenerate: equal logits give log 2 for every step, whatever its label.
        >>> L(uniform) == log(2)
    """

    def signals(self) -> frozenset[Signal]:
        """Both labels' log-probabilities at the end of a step."""
        return frozenset({WRONG, RIGHT})

    def __call__(self, batch: Sequences) -> Terms:
        """One term per step."""
        wrong, right, label = batch.signal(WRONG), batch.signal(RIGHT), batch.field("label")
        loss = -(label * right + (1 - label) * wrong)
        found, marked = is_wrong(right - wrong), is_wrong(label - 0.5)
        metrics = {
            "accuracy": Metric(1 - (found - marked).abs()),
            "first_wrong_step": Metric((steps_before(found) == steps_before(marked)).to(loss.values)),
        }
        return Terms(token=loss, metrics=metrics)


def is_wrong(evidence: Ragged) -> Ragged:
    """1 for each step with evidence below 0, else 0: ragged."""
    return evidence.map(lambda values: (values < 0).to(values))


def steps_before(wrong: Ragged) -> Tensor:
    """Steps before the first wrong one, all where there is none: [sequences]."""
    return wrong.cumsum().map(lambda values: (values < 1).to(values)).sum()

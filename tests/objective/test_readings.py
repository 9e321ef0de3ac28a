"""Where numbers come from: recorded with the data, or said by the policy of the very forward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from torch import nn

from burnish.model.signals import Signal, entropy, logp
from burnish.objective import Metric, Sequences, Terms
from burnish.objective.compose import Objective
from burnish.objective.entries import Entry
from burnish.objective.reduce import Reduction
from burnish.registry import load
from burnish.testing import Evaluation, evaluate, tiny_tokenizer


@dataclass(frozen=True, kw_only=True)
class Old:
    """The policy's log-probabilities when the batch was rolled out, beside a term that has a gradient."""

    def signals(self) -> frozenset[Signal]:
        return frozenset({logp(), logp("old")})

    def __call__(self, batch: Sequences) -> Terms:
        return Terms(token=batch.signal(logp("old")) + 0.0 * batch.logp)


@dataclass(frozen=True, kw_only=True)
class OldAlone:
    """A weight that reads nothing else."""

    def signals(self) -> frozenset[Signal]:
        return frozenset({logp("old")})

    def __call__(self, batch: Sequences) -> Terms:
        return Terms(token=batch.signal(logp("old")))


ROWS: list[dict[str, Any]] = [
    {"prompt_ids": [5, 6], "completion_ids": [7, 8], "old_logps": [-1.0, -2.0]},
    {"prompt_ids": [5, 6], "completion_ids": [7, 9, 4]},
    {"prompt_ids": [5], "completion_ids": [3], "old_logps": [-4.0]},
]


def value_of(rows: list[dict[str, Any]], policy: nn.Module, **options: Any) -> Evaluation:
    entry = Entry("old", Old(), "sequence", Reduction("constant"))
    return evaluate(Objective((entry,)), rows, policy, tiny_tokenizer(chat=False), **options)


@pytest.mark.parametrize(("layout", "micro_batches"), [("tree", 1), ("padded", 2), ("packed", 3)])
def test_old_is_recorded_or_the_policy_itself_row_by_row(policy: nn.Module, layout: Any, micro_batches: int) -> None:
    """Two rows say what it was, -1 - 2 and -4; the third one does not, wherever it falls."""
    own = evaluate(["sft"], ROWS[1:2], policy, tiny_tokenizer(chat=False))
    found = value_of(ROWS, policy, layout=layout, micro_batches=micro_batches)
    assert found.loss == pytest.approx((-1 - 2 - 4 - 3 * own.loss) / 3, rel=1e-9)


def test_old_alone_brings_the_policy_that_stands_for_it(policy: nn.Module) -> None:
    entry = Entry("old", Old(), "sequence", Reduction("constant"), weights=(("alone", OldAlone()),))
    assert Objective((entry,)).signals("policy") == (logp(),)
    alone = Objective((Entry("alone", OldAlone(), "sequence", Reduction("constant")),))
    assert alone.signals("policy") == (logp(),)
    assert alone.signals("old") == (logp("old"),)


@dataclass(frozen=True, kw_only=True)
class Warm:
    """The likelihood at twice the temperature, said by the loss itself."""

    def signals(self) -> frozenset[Signal]:
        return frozenset({logp(temperature=2.0), entropy(temperature=2.0)})

    def __call__(self, batch: Sequences) -> Terms:
        return Terms(token=-batch.logp, metrics={"entropy": Metric(batch.signal(entropy(temperature=2.0)))})


def test_a_source_sampled_at_a_temperature_is_read_at_it(policy: nn.Module, distance: Callable[..., float]) -> None:
    """`sft` on such a source is the likelihood at its temperature; on others it stays what it is."""
    warm = Objective((Entry("warm", Warm(), "sequence", Reduction("token_mean")),))
    plain = Objective.parse([{"sft": {}}, {"sft": {"source": "other", "weight": 0.5}}], load()).sampled_at({"main": 2.0})
    tokenizer = tiny_tokenizer(chat=False)
    both = evaluate(plain, {"main": ROWS[:1], "other": ROWS[1:]}, policy, tokenizer)
    one, other = evaluate(warm, ROWS[:1], policy, tokenizer), evaluate(["sft"], ROWS[1:], policy, tokenizer)
    assert both.parts["sft"] == pytest.approx(one.loss, rel=1e-12)
    assert both.metrics["entropy"] == pytest.approx(one.metrics["entropy"], rel=1e-12)
    summed = {name: gradient + 0.5 * other.grads[name] for name, gradient in one.grads.items()}
    assert distance(both.grads, summed) < 1e-12

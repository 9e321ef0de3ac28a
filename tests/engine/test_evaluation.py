"""The metric that tells the best evaluation is known before the first step, whoever gives it."""

from __future__ import annotations

from typing import Any

import pytest
from runs import MakeConfig

from burnish.api import train
from burnish.errors import ConfigError

HELD = {"data": {"main": {"holdout": 0.25}}, "checkpoint": {"best": True}}


def length(completions: list[str], **columns: Any) -> list[float]:
    return [float(len(text)) for text in completions]


@pytest.mark.parametrize("metric", ["eval/loss/dpo", "eval/rewards/accuracies", "eval/rewards/length/mean"])
def test_losses_and_rewards_give_metrics(make_config: MakeConfig, metric: str) -> None:
    evaluate = {"metric": metric, "greater_is_better": True, "sampling": {"max_new_tokens": 2}}
    result = train(make_config(**HELD, evaluate=evaluate, train={"steps": 1}), rewards=[length])
    assert metric in result.evaluation


def test_others_are_refused_before_the_first_step(make_config: MakeConfig) -> None:
    steps: list[int] = []

    class Watcher:
        def step_finished(self, run: Any, step: Any) -> None:
            steps.append(step.step)

    with pytest.raises(
        ConfigError, match=r"evaluate.metric: no evaluation gives 'eval/rewards/acuracies'. Did you mean '\S+/accuracies'"
    ):
        train(make_config(**HELD, evaluate={"metric": "eval/rewards/acuracies"}), observers=[Watcher()])
    assert steps == []

"""A reference that follows, in whole runs: when it moves, what losses and evaluations then compare with, what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from runs import LORA, MakeConfig, ledger
from torch import Tensor

from burnish.api import train
from burnish.errors import ConfigError

LOG_2 = math.log(2)


class Watcher:
    """Keeps the trained parameters of both models after every step."""

    def __init__(self) -> None:
        self.policy: list[dict[str, Tensor]] = []
        self.reference: list[dict[str, Tensor]] = []

    def run_started(self, run: Any) -> None:
        self.keep(run)

    def step_finished(self, run: Any, step: Any) -> None:
        self.keep(run)

    def keep(self, run: Any) -> None:
        names = run.trained.parameters
        for model, kept in ((run.model, self.policy), (run.runner.roles.reference.scorer.model, self.reference)):
            kept.append({name: one.detach().clone() for name, one in model.named_parameters() if name in names})


def watched(config: dict[str, Any]) -> Watcher:
    watcher = Watcher()
    train(config, observers=[watcher])
    return watcher


@pytest.mark.parametrize("adapter", [None, LORA], ids=["full", "adapter"])
def test_the_reference_is_a_mixture_of_the_policies_at_the_steps_that_are_due(
    adapter: dict[str, Any] | None, make_config: MakeConfig
) -> None:
    found = watched(make_config(model={"adapter": adapter}, reference={"sync": {"mix": {"alpha": 0.6, "every": 2}}}))
    for name, expected in found.policy[0].items():
        assert torch.equal(found.reference[0][name], expected), "at first it is the policy"
        for step in range(1, 7):
            if step % 2 == 0:
                expected = 0.4 * expected + 0.6 * found.policy[step][name]
            torch.testing.assert_close(found.reference[step][name], expected, rtol=1e-6, atol=1e-7)
    assert any(not torch.equal(found.policy[0][name], found.policy[6][name]) for name in found.policy[0])


def test_a_moving_average_moves_with_every_step(make_config: MakeConfig) -> None:
    found = watched(make_config(reference={"sync": {"ema": {"decay": 0.75}}}))
    for name, expected in found.policy[0].items():
        for step in range(1, 7):
            expected = 0.75 * expected + 0.25 * found.policy[step][name]
        torch.testing.assert_close(found.reference[6][name], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("adapter", [None, LORA], ids=["full", "adapter"])
@pytest.mark.parametrize("budget", [64, 4096])
def test_after_a_whole_update_losses_and_evaluations_see_no_difference(
    adapter: dict[str, Any] | None, budget: int, make_config: MakeConfig, tmp_path: Any
) -> None:
    """reference == policy gives log 2: at the start, after every second step, and in the evaluation made at that step."""
    config = make_config(
        model={"adapter": adapter},
        data={"main": {"holdout": 0.2}},
        reference={"sync": {"mix": {"alpha": 1.0, "every": 2}}},
        evaluate={"every": 1, "at_start": True},
        train={"micro_batch_tokens": budget},
    )
    train(config)
    lines = ledger(tmp_path / "run")
    losses = {line["step"]: line["loss"] for line in lines if "loss" in line}
    evaluated = {line["step"]: line["eval/loss"] for line in lines if "eval/loss" in line}
    for step in (1, 3, 5):
        assert losses[step] == pytest.approx(LOG_2, abs=1e-6)
        assert abs(losses[step + 1] - LOG_2) > 1e-4
        assert evaluated[step - 1] == pytest.approx(LOG_2, abs=1e-6)
        assert abs(evaluated[step] - LOG_2) > 1e-4


def test_accumulation_changes_nothing(make_config: MakeConfig, tmp_path: Any) -> None:
    found = [
        watched(
            make_config(
                reference={"sync": {"bema": {"every": 2}}},
                train={"micro_batch_tokens": budget},
                output=str(tmp_path / str(budget)),
            )
        )
        for budget in (64, 4096)
    ]
    for name, tensor in found[0].reference[6].items():
        torch.testing.assert_close(found[1].reference[6][name], tensor, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"objective": [{"sft": {"on": "chosen"}}]}, "reference.sync: no part of the objective compares with a reference"),
        ({"reference": {"model": "other", "sync": {"mix": {}}}}, "`sync` moves a copy of the policy, not the model 'other'"),
        ({"reference": {"sync": {"mix": {}, "ema": {}}}}, "one of `mix`, `ema` and `bema`"),
        ({"reference": {"sync": {"mix": {"alpha": 0}}}}, "reference.sync.mix.alpha"),
        ({"model": {"quantize": "4bit", "adapter": LORA}}, "reference.sync: a copy beside weights in 4bit is not supported"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], said: str, make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=said):
        train(make_config(**{"reference": {"sync": {"mix": {}}}, **changes}))

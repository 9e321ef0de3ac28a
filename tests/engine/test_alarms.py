"""Each alarm speaks on the numbers it is for, once, and is silent on a healthy run."""

from __future__ import annotations

import pytest

from burnish.config.sections import MismatchSection, RolloutSection
from burnish.engine.alarms import AGAIN, WINDOW, Alarms, alarms_of

HEALTHY = {
    "rewards/accuracies": 0.8,
    "rewards/margins": 0.5,
    "logps/chosen": -50.0,
    "entropy": 2.0,
    "kl": 0.1,
    "completions/clipped_ratio": 0.1,
    "frac_reward_zero_std": 0.2,
}


def run(changed: dict[str, float]) -> list[str]:
    """`WINDOW` healthy steps, then `WINDOW` with some numbers changed."""
    alarms = Alarms()
    sentences = []
    for step in range(1, 2 * WINDOW + 1):
        sentences += alarms.observe(step, HEALTHY | changed if step > WINDOW else HEALTHY)
    return sentences


def test_healthy_run_is_silent() -> None:
    assert run({}) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"rewards/accuracies": 0.1, "rewards/margins": -3.0}, "margin collapse"),
        ({"logps/chosen": -150.0}, "falling chosen log-probability: logps/chosen went from -50"),
        ({"entropy": 0.1}, "entropy collapsed"),
        ({"entropy": 9.0}, "entropy exploded"),
        ({"kl": 200.0}, "KL runaway"),
        ({"completions/clipped_ratio": 0.9}, "truncation"),
        ({"frac_reward_zero_std": 1.0}, "dead groups"),
        ({"outcomes/failed": 0.5, "outcomes/reward_error": 0.5}, "failed episodes: 50% of the last 20 steps' episodes"),
    ],
)
def test_alarm_speaks_once_with_numbers_and_a_remedy(changed: dict[str, float], words: str) -> None:
    (sentence,) = run(changed)
    assert words in sentence
    assert "Try" in sentence or "try" in sentence or "may help" in sentence


def test_the_level_of_the_sampler_s_alarm_is_the_config_s() -> None:
    def said(section: RolloutSection | None) -> list[str]:
        alarms = alarms_of(section)
        numbers = {"sampling/sampling_logp_difference/mean": 0.2}
        return [sentence for step in range(1, WINDOW + 1) for sentence in alarms.observe(step, numbers)]

    [sentence] = said(RolloutSection())
    assert "sampler and trainer differ: by 0.2 nats a token" in sentence
    assert "top_p" in sentence
    assert said(RolloutSection(mismatch=MismatchSection(warn=0.3))) == said(None) == []
    assert said(RolloutSection(mismatch=MismatchSection(warn=None))) == []


def test_speaks_again_only_after_a_while() -> None:
    alarms = Alarms()
    bad = HEALTHY | {"frac_reward_zero_std": 1.0}
    spoken = [step for step in range(1, WINDOW + AGAIN + 1) if alarms.observe(step, bad)]
    assert spoken == [WINDOW, WINDOW + AGAIN]

"""Policy losses and their weights see a set too: value, metrics and gradient in any layout, cut and order, in float64.

Policy, policy at the rollout, sampler and reference are four models; advantages have both signs; members are filtered out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from burnish.model.values import add_value_head, value_head_of
from burnish.registry import LossRecord, load
from burnish.testing import Evaluation, evaluate, tiny_model, tiny_tokenizer

NUMBERS = {"returns": [0.5, -1.0, 2.0, 0.1, 0.7], "advantages": [1.0, -0.5, 2.0, -1.5, 0.3]}
IDS: list[tuple[list[int], list[int]]] = [
    ([5, 6, 40], [7, 8, 9]),
    ([5, 6, 40], [7, 8, 3, 4, 1]),
    ([5, 6], [2]),
    ([9], [4, 11, 12]),
    ([9], [4, 100]),
]
ROWS: list[dict[str, Any]] = [
    {
        "prompt_ids": prompt,
        "completion_ids": completion,
        "truncated": place == 1,
        "weight": 1.0 + 0.5 * (place == 2),
        **{name: [sign * number for number in numbers[: len(completion)]] for name, numbers in NUMBERS.items()},
    }
    for place, ((prompt, completion), sign) in enumerate(zip(IDS, (1, -1, 1, -1, 1), strict=True))
]
WEIGHTS: list[Any] = ["is_correction", "off_policy_mask", {"top_entropy": {"keep": 0.4}}, "overlong_filter"]
SEQUENCES = {"is_correction": {"level": "sequence", "mode": "mask"}}
OBJECTIVES: dict[str, list[Any]] = {
    **{record.name: [record.name] for record in load().records(LossRecord) if record.data == "trajectory"},
    "sequence_sum": [{"grpo": {"level": "sequence_sum", "weights": [SEQUENCES]}}],
    "sequence_mean": [{"grpo": {"level": "sequence_mean", "weights": WEIGHTS}}],
    "per sequence": [{"grpo": {"reduction": "sequence_token_mean"}}, {"kl": {"reduction": "sequence_token_mean"}}],
    "constant": [{"grpo": {"reduction": "constant(5)", "weights": WEIGHTS}}, {"kl": {"corrected": True, "weight": 0.1}}],
    "entropy": ["reinforce", {"entropy": {"target": 3.9, "coefficient": 0.1}}],
    "ppo": ["grpo", {"value": {"weight": 0.1}}, {"kl": {"estimator": "k2", "weight": 0.05}}],
}
CUTS = (("tree", 1, ROWS), ("padded", 3, ROWS[::-1]), ("packed", 5, ROWS[2:] + ROWS[:2]))


@pytest.fixture(scope="module")
def models() -> dict[str, nn.Module]:
    """Four models with value heads, near enough that ratios lie on either side of every bound."""
    made: dict[str, nn.Module] = {}
    for seed, role in enumerate(("policy", "old", "behaviour", "reference")):
        model = tiny_model("gpt2", torch.float64)
        add_value_head(model)
        generator = torch.Generator().manual_seed(seed)
        nn.init.normal_(value_head_of(model).weight, generator=generator)
        for parameter in model.parameters() if seed else ():
            parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        made[role] = model
    return made


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_batch_is_a_set(name: str, models: dict[str, nn.Module], distance: Callable[..., float]) -> None:
    policy, reference = models["policy"], models["reference"]
    roles = {role: models[role] for role in ("old", "behaviour")}
    results: list[Evaluation] = []
    for layout, cuts, rows in CUTS:
        results.append(
            evaluate(
                OBJECTIVES[name],
                rows,
                policy,
                tiny_tokenizer(chat=False),
                reference=reference,
                roles=roles,
                layout=layout,  # type: ignore[arg-type]
                micro_batches=cuts,
            )
        )
    first, *others = results
    assert any(gradient.any() for gradient in first.grads.values())
    for other in others:
        assert other.loss == pytest.approx(first.loss, rel=1e-10)
        assert other.metrics == pytest.approx(first.metrics, rel=1e-9, abs=1e-12)
        assert other.state == first.state
        assert distance(other.grads, first.grads) < 1e-9


def test_the_four_models_disagree_enough(models: dict[str, nn.Module]) -> None:
    """Else the test above would pass with every ratio at 1."""
    found = evaluate(["grpo"], ROWS, models["policy"], tiny_tokenizer(chat=False), roles={"old": models["old"]})
    assert 0 < found.metrics["clip_ratio/low_mean"] < 1
    assert 0 < found.metrics["clip_ratio/high_mean"] < 1

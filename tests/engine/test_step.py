"""A global batch, step by step: what is forwarded, what is counted, what is found at fault."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from burnish.batch.trie import num_unique_tokens
from burnish.data.units import Sequence, Unit
from burnish.engine.step import StepRunner
from burnish.errors import ModelError
from burnish.model.cache import LogpCache
from burnish.model.roles import Roles, frozen_model
from burnish.model.scorer import Scorer
from burnish.objective.compose import Objective
from burnish.registry import load
from burnish.testing import tiny_model

PROMPT = [3, 1, 4, 1, 5]
EXAMPLES = Path(__file__).parents[1] / "objective" / "example_losses.py"


def sequence(role: str, *completion: int, prompt: list[int] = PROMPT, **more: Any) -> Sequence:
    ids = np.array([*prompt, *completion])
    start = len(prompt)
    masks = {"completion": np.arange(len(ids)) >= start, "late": np.arange(len(ids)) >= start + 2}
    return Sequence(ids, masks, role, **more)


def pair(chosen: tuple[int, ...], rejected: tuple[int, ...], row: int = 0, **more: Any) -> Unit:
    return Unit("preference", (sequence("chosen", *chosen), sequence("rejected", *rejected)), row=row, **more)


PAIRS = [pair((9, 2, 6), (5,), 0), pair((9, 7), (9, 3, 2, 3), 1), pair((8,), (4, 6), 2)]
UNIQUE = 5 + 3 + 1 + 1 + 3 + 1 + 2  # the prompt, then 9 2 6, 5, 7 (9 is shared), 3 2 3 (9 is shared), 8, 4 6


def runner(model: nn.Module, *objective: Any, **more: Any) -> StepRunner:
    kind = more.pop("kind", "tree")
    roles = Roles(Scorer(model, kind), kind, more.pop("reference", None), cache=more.pop("cache", None))
    return StepRunner(roles, Objective.parse(objective, load(run_code=True)), more.pop("budget", 1000), **more)


def test_a_tree_forwards_its_unique_tokens_once_for_all_parts() -> None:
    reference = frozen_model(tiny_model("llama", seed=1), "tree")
    objective = ("dpo", {"bco_pair": {"weight": 0.2}}, {"sft": {"on": "chosen", "targets": "completion"}})
    result = runner(tiny_model("llama"), *objective, reference=reference).run(PAIRS)
    assert num_unique_tokens([sequence for unit in PAIRS for sequence in unit.sequences]) == UNIQUE
    assert result.forwarded_tokens == {"policy": UNIQUE, "reference": UNIQUE}
    assert result.forwards == {"policy": 1, "reference": 1}
    assert result.num_tokens == 6 * 5 + 3 + 1 + 2 + 4 + 1 + 2


def test_what_no_part_reads_is_not_forwarded() -> None:
    result = runner(tiny_model("llama"), {"sft": {"on": "chosen"}}).run(PAIRS)
    assert result.forwarded_tokens == {"policy": 5 + 3 + 1 + 1}
    assert result.num_tokens == 3 * 5 + 3 + 2 + 1


@pytest.mark.parametrize("kind", ["tree", "padded"])
def test_a_warm_cache_forwards_no_reference_token(tmp_path: Path, kind: Any) -> None:
    model, reference = tiny_model("llama"), frozen_model(tiny_model("llama", seed=1), kind, "float32")
    cold, warm = (runner(model, "dpo", reference=reference, cache=LogpCache(tmp_path), kind=kind).run(PAIRS) for _ in range(2))
    assert cold.forwarded_tokens["reference"] > 0
    assert warm.forwarded_tokens["reference"] == warm.forwards["reference"] == 0
    assert warm.loss == cold.loss


def test_numbers_that_came_with_the_data_need_no_reference() -> None:
    numbers = np.array([0, 0, 0, 0, 0, -1, -2, -3], np.float32)
    units = [pair((9, 2, 6), (5, 5, 5))]
    recorded = [
        dataclasses.replace(
            unit, sequences=tuple(dataclasses.replace(s, tokens={"reference": numbers}) for s in unit.sequences)
        )
        for unit in units
    ]
    model = tiny_model("llama")
    assert runner(model, "dpo").run(recorded).forwarded_tokens["reference"] == 0
    with pytest.raises(ModelError, match="no model for the role 'reference'"):
        runner(model, "dpo").run(units)


def test_the_budget_cuts_and_the_numbers_stay() -> None:
    model, reference = tiny_model("gpt2", torch.float64), frozen_model(tiny_model("gpt2", torch.float64, seed=1), "tree")
    results = [runner(model, "dpo", reference=reference, budget=budget).run(PAIRS) for budget in (1000, 15, 1)]
    assert [one.forwards["policy"] for one in results] == [1, 2, 3]
    assert [one.loss for one in results] == pytest.approx([results[0].loss] * 3, rel=1e-12)


def test_evaluation_moves_nothing() -> None:
    model, state = tiny_model("llama"), {"shifted": 0.25}
    reference = frozen_model(tiny_model("llama", seed=1), "tree")
    units = [Unit("prompt_completion", (sequence("main", 9, 2),))]
    step = runner(model, f"{EXAMPLES}:Shifted", reference=reference)
    evaluated = step.run(units, state, train=False)
    assert evaluated.state == state
    assert all(parameter.grad is None for parameter in model.parameters())
    trained = step.run(units, state)
    assert trained.loss == pytest.approx(evaluated.loss)
    assert trained.state["shifted"] != 0.25
    assert any(parameter.grad is not None for parameter in model.parameters())


def test_a_part_without_data_in_this_batch_is_silent_and_keeps_its_state() -> None:
    reference = frozen_model(tiny_model("llama", seed=1), "tree")
    step = runner(
        tiny_model("llama"), {"sft": {"on": "chosen"}}, {f"{EXAMPLES}:Shifted": {"source": "other"}}, reference=reference
    )
    result = step.run(PAIRS, {"shifted": 0.25})
    assert result.parts.keys() == {"sft"}
    assert result.loss == result.parts["sft"]
    assert result.state == {"shifted": 0.25}


def test_more_micro_batches_than_units_and_nothing_at_all() -> None:
    model = tiny_model("llama")
    whole = runner(model, {"sft": {"on": "chosen"}}).run(PAIRS)
    cut = runner(model, {"sft": {"on": "chosen"}}, micro_batches=5).run(PAIRS)
    assert cut.loss == pytest.approx(whole.loss, rel=1e-6)
    assert cut.forwards == {"policy": 5}
    nothing = runner(model, {"sft": {"on": "chosen", "source": "other"}}).run(PAIRS)
    assert (nothing.loss, nothing.parts, nothing.metrics) == (0.0, {}, {})


def test_a_mask_may_leave_a_sequence_without_targets() -> None:
    """Under `late` only 9 2 6 has a target (6) among the chosen, so the mean over sequences is that of one."""
    model = tiny_model("llama")
    late = runner(model, {"sft": {"on": "chosen", "targets": "late", "reduction": "sequence_mean"}}).run(PAIRS)
    alone = runner(model, {"sft": {"on": "chosen", "targets": "late"}}).run(PAIRS[:1])
    assert late.loss == pytest.approx(alone.loss, rel=1e-6)
    reference = frozen_model(tiny_model("llama", seed=1), "tree")
    empty = runner(model, {"ipo": {"targets": "late", "beta": 0.5}}, reference=reference).run([PAIRS[2]])
    assert empty.parts == {}  # neither side has a target
    one_sided = runner(model, {"ipo": {"targets": "late", "beta": 0.5}}, reference=reference).run([PAIRS[0]])
    r = one_sided.metrics["rewards/chosen"] / 0.5
    assert one_sided.metrics["rewards/rejected"] == 0
    assert one_sided.loss == pytest.approx((r / 1 - 0 - 1) ** 2, rel=1e-5)


def test_one_row_drawn_twice_counts_twice() -> None:
    model = tiny_model("gpt2", torch.float64)
    copied = runner(model, {"sft": {"on": "chosen"}}).run([PAIRS[0], dataclasses.replace(PAIRS[0]), PAIRS[2]])
    twice = runner(model, {"sft": {"on": "chosen"}}, micro_batches=2).run([PAIRS[0], PAIRS[0], PAIRS[2]])
    assert twice.loss == pytest.approx(copied.loss, rel=1e-12)
    assert twice.num_tokens == copied.num_tokens == 2 * 8 + 6
    assert twice.loss != pytest.approx(runner(model, {"sft": {"on": "chosen"}}).run([PAIRS[0], PAIRS[2]]).loss, rel=1e-3)


def test_a_row_drawn_twice_counts_twice_in_a_coupled_loss_too() -> None:
    model, reference = tiny_model("gpt2", torch.float64), frozen_model(tiny_model("gpt2", torch.float64, seed=1), "padded")
    grads = []
    for one in ("dpo", f"{EXAMPLES}:Sorted"):  # between equal pairs, sorting changes nothing
        model.zero_grad()
        runner(model, one, reference=reference, kind="padded").run([PAIRS[0], dataclasses.replace(PAIRS[0])])
        grads.append([parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None])
    for plain, coupled in zip(*grads, strict=True):
        assert torch.allclose(plain, coupled, rtol=1e-9, atol=1e-12)


def test_what_is_not_finite_is_named() -> None:
    """The loss divides the smallest difference of the batch by 0: one row is at fault, and named."""
    result = runner(tiny_model("llama"), {f"{EXAMPLES}:Broken": {"how": "nan"}}).run(PAIRS)
    assert not np.isfinite(result.loss)
    [fault] = result.faults
    assert (fault.part, len(fault.rows)) == ("broken", 1)
    assert str(fault) == f"'broken' is not finite on row {fault.rows[0][1]} of main"
    assert runner(tiny_model("llama"), {"sft": {"on": "chosen"}}).run(PAIRS).faults == ()

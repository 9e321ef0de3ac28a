"""Losses whose data kinds agree compose: the gradient is the weighted sum of the parts' gradients, one forward serves all.

Objectives are drawn by hypothesis from everything that is registered. A triple is a pair with a gold answer, and all are
sequences, so rows of one kind feed losses of several.
"""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.errors import ObjectiveError
from burnish.objective.compose import Objective
from burnish.objective.entries import ROLES
from burnish.registry import LossRecord, load, serves
from burnish.testing import Evaluation
from burnish.testing.conformance.models import run, task_of
from burnish.testing.conformance.rows import MAKERS, NUM_ITEMS, rows_of

REGISTRY = load()
RECORDS = REGISTRY.records(LossRecord)
TASKS = {record.name: task_of(Objective.parse([record.name], REGISTRY)) for record in RECORDS}
ON = {**ROLES, "ranked": tuple(f"item{place}" for place in range(NUM_ITEMS))}
Part = dict[str, dict[str, object]]


def reads_a_rollout(record: LossRecord) -> bool:
    """Whether the loss asks for what only a rollout has recorded: `old`, `behaviour`, advantages."""
    objective = Objective.parse([record.name], REGISTRY)
    try:
        run(objective, rows_of(record.data if record.data in MAKERS else "sequence", 0, 1))
    except ObjectiveError:
        return True
    return bool(objective.roles & {"old", "behaviour"})


OF_ROLLOUTS = {record.name for record in RECORDS if reads_a_rollout(record)}


def fits(record: LossRecord, data: str) -> bool:
    """Whether rows of `data` feed the loss."""
    return serves(data, record.data) and (data == "trajectory" or record.name not in OF_ROLLOUTS)


FITTING = {
    (data, task): names
    for data in sorted(MAKERS.keys() - {"sequence"})
    for task in sorted(set(TASKS.values()))
    if (names := [record.name for record in RECORDS if TASKS[record.name] == task and fits(record, data)])
}
DATA_OF = {record.name: record.data for record in RECORDS}


@st.composite
def objectives(draw: st.DrawFn) -> tuple[str, list[Part]]:
    """A kind of rows, and two to four weighted losses that they feed and one model can give."""
    data, task = draw(st.sampled_from(sorted(FITTING)))
    parts: list[Part] = []
    for place, name in enumerate(draw(st.lists(st.sampled_from(FITTING[data, task]), min_size=2, max_size=4))):
        weight = draw(st.sampled_from([-1.5, 0.25, 1.0, 3.0]))
        on = {"on": draw(st.sampled_from(ON[data]))} if DATA_OF[name] == "sequence" and data in ON else {}
        parts.append({name: {"weight": weight, "name": f"part{place}", **on}})
    return data, parts


def evaluated(parts: list[Part], data: str, seed: int) -> Evaluation:
    return run(Objective.parse(parts, REGISTRY), rows_of(data, seed, 3))


@settings(max_examples=25, deadline=None)
@given(drawn=objectives(), seed=st.integers(0, 3))
def test_a_composition_is_the_weighted_sum_of_its_parts(drawn: tuple[str, list[Part]], seed: int) -> None:
    data, parts = drawn
    whole = evaluated(parts, data, seed)
    alone = [evaluated([part], data, seed) for part in parts]
    weights = [float(str(options["weight"])) for part in parts for options in part.values()]
    assert whole.loss == pytest.approx(sum(one.loss for one in alone), rel=1e-9, abs=1e-12)
    for place, (one, weight) in enumerate(zip(alone, weights, strict=True)):
        assert whole.parts[f"part{place}"] == pytest.approx(one.loss / weight, rel=1e-9, abs=1e-12)
    size = math.sqrt(sum(float(gradient.norm()) ** 2 for one in alone for gradient in one.grads.values()))
    for name, gradient in whole.grads.items():
        torch.testing.assert_close(gradient, torch.stack([one.grads[name] for one in alone]).sum(0), rtol=0, atol=1e-10 * size)
    # A loss that looks ahead (a statistic, a coupling) costs one forward more, without gradient: it is shared too.
    assert whole.forwards["policy"] == max(one.forwards["policy"] for one in alone)


def test_every_loss_takes_part() -> None:
    assert {name for names in FITTING.values() for name in names} == DATA_OF.keys()

"""The tiny models that an objective needs, and what it is worth on them: `evaluate` without a choice to make.

In: an objective, rows. Out: an evaluation. Models are made once for each family, precision and seed, and never changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

import torch
from torch import nn

from burnish.model.signals import Role
from burnish.model.tasks import Task, task_for
from burnish.model.values import add_value_head, value_head_of
from burnish.objective.compose import Objective
from burnish.testing.conformance.checking import Rows
from burnish.testing.evaluation import Evaluation, evaluate
from burnish.testing.tiny import tiny_model, tiny_tokenizer

Families = Mapping[Task, str]
EXACT: Families = {"language": "gpt2", "sequence": "gpt2_classifier", "token": "phi_steps"}
"""Whose norms stay in float64."""
ROUNDING: Families = {"language": "llama", "sequence": "llama_classifier", "token": "llama_steps"}


def run(
    objective: Objective,
    rows: Rows,
    *,
    families: Families = EXACT,
    dtype: torch.dtype = torch.float64,
    policy: nn.Module | None = None,
    others: Mapping[str, nn.Module] | None = None,
    tokenizer: Any = None,
    **options: Any,
) -> Evaluation:
    """`evaluate` on tiny models of the family that has what the objective reads; options are those of `evaluate`."""
    models = others_of(objective, families, dtype) if others is None else others
    frozen: dict[str, Any] = {role: models[role] for role in ("reference", "teacher") if role in models}
    frozen["roles"] = {role: other for role, other in models.items() if role not in frozen}
    policy = policy_of(objective, families, dtype) if policy is None else policy
    tokenizer = tiny_tokenizer(chat=False) if tokenizer is None else tokenizer
    return evaluate(objective, list(rows), policy, tokenizer, **frozen, **options)


def policy_of(
    objective: Objective, families: Families = EXACT, dtype: torch.dtype = torch.float64, seed: int = 0
) -> nn.Module:
    """The policy of all runs of an objective."""
    return _model(families[task_of(objective)], dtype, seed)


def others_of(
    objective: Objective, families: Families = EXACT, dtype: torch.dtype = torch.float64, seed: int = 0
) -> dict[str, nn.Module]:
    """A model of its own for every other role that the objective reads, by role."""
    seeds = {role: seed + place for place, role in enumerate(get_args(Role))}
    return {role: _model(families[task_of(objective)], dtype, seeds[role]) for role in objective.roles - {"policy"}}


def task_of(objective: Objective) -> Task:
    """The head that an objective reads; ModelError when no single one will do."""
    return task_for(signal for entry in objective.entries for signal in entry.signals() | entry.derived_signals())


@cache
def _model(family: str, dtype: torch.dtype, seed: int) -> nn.Module:
    model: Any = tiny_model(family, dtype, seed)
    if model.get_output_embeddings() is not None:
        add_value_head(model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            nn.init.normal_(value_head_of(model).weight)
    made: nn.Module = model
    return made

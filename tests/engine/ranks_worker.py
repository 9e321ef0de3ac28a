"""One rank of `test_step_ranks.py`: the units of a global batch through a StepRunner under DDP; what came out, to a file."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.state import GradientState
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from burnish.data.units import Sequence, Unit
from burnish.engine.step import StepRunner
from burnish.model.roles import Roles, frozen_model
from burnish.model.scorer import Scorer
from burnish.objective.compose import Objective
from burnish.registry import load
from burnish.testing import tiny_model

EXAMPLES = Path(__file__).parents[1] / "objective" / "example_losses.py"
OBJECTIVE: list[Any] = [
    {"dpo": {"weight": 0.5}},
    {f"{EXAMPLES}:Sorted": {}},
    {"sft": {"source": "answers", "weights": {f"{EXAMPLES}:TopEntropy": {"keep": 0.5}}}},
    {f"{EXAMPLES}:Mismatched": {"source": "answers"}},
    {f"{EXAMPLES}:Shifted": {"source": "answers", "weight": 0.1}},
]
PAIRS = [([9, 2, 6], [5]), ([9, 7], [9, 3, 2, 3]), ([8], [4, 6])]
ANSWERS = [[1, 2, 3], [7], [5, 5], [9, 9, 9, 9]]


def sequence(role: str, completion: list[int]) -> Sequence:
    ids = np.array([3, 1, 4, *completion])
    return Sequence(ids, {"completion": np.arange(len(ids)) >= 3}, role)


def units() -> list[Unit]:
    pairs = [Unit("preference", (sequence("chosen", w), sequence("rejected", other))) for w, other in PAIRS]
    return pairs + [Unit("prompt_completion", (sequence("main", one),), source="answers") for one in ANSWERS]


class Plain:
    """What of an Accelerator a StepRunner uses."""

    def __init__(self) -> None:
        self.gradient_state = GradientState()

    def no_sync(self, module: Any) -> AbstractContextManager[None]:
        context: AbstractContextManager[None] = module.no_sync() if dist.is_initialized() else nullcontext()
        return context

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]


def step(policy: nn.Module, chosen: list[Unit], budget: int) -> dict[str, Any]:
    """Result and gradients of one global batch; `policy` is a Scorer, wrapped or not."""
    policy.zero_grad()
    roles = Roles(policy, "tree", frozen_model(tiny_model("gpt2", torch.float64, seed=1), "tree"))
    runner = StepRunner(roles, Objective.parse(OBJECTIVE, load(run_code=True)), budget, Plain())
    result = runner.run(chosen, {"shifted": 0.5})
    return {"result": vars(result), "grads": [parameter.grad.clone() for parameter in policy.parameters()]}


def scenarios(policy: nn.Module) -> list[dict[str, Any]]:
    """Many micro-batches, one for each rank, and a batch that leaves a rank without work."""
    return [step(policy, units(), 8), step(policy, units(), 1000), step(policy, units()[:1], 1000)]


def main(output: str) -> None:
    dist.init_process_group("gloo")
    policy = DistributedDataParallel(Scorer(tiny_model("gpt2", torch.float64), "tree"))
    torch.save(scenarios(policy), f"{output}-{dist.get_rank()}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])

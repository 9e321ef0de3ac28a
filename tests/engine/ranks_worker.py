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
COMPARED: list[Any] = [
    {"dppo": {"divergence": "topk_tv", "top_k": 3, "threshold": 0.83}},
    {"dppo": {"divergence": "topk_kl", "top_k": 2, "threshold": 3.5, "name": "dppo_kl"}},
]
PAIRS = [([9, 2, 6], [5]), ([9, 7], [9, 3, 2, 3]), ([8], [4, 6])]
ANSWERS = [[1, 2, 3], [7], [5, 5], [9, 9, 9, 9]]


def sequence(role: str, completion: list[int]) -> Sequence:
    ids = np.array([3, 1, 4, *completion])
    return Sequence(ids, {"completion": np.arange(len(ids)) >= 3}, role)


def rolled(one: list[int], seed: int) -> Sequence:
    """A completion of a sampler that said which three tokens were likeliest; now and then the one that was drawn is."""
    plain, random = sequence("main", one), np.random.default_rng(seed)
    said = random.normal(size=(len(plain), 16)).astype(np.float32) * 2
    said -= np.log(np.exp(said).sum(-1, keepdims=True))
    ranked = np.argsort(-said)[:, :3]
    numbers = {
        "advantages": random.normal(size=len(plain)).astype(np.float32),
        "behaviour": said[np.arange(len(plain)), plain.ids],
        "likeliest_ids": ranked.astype(np.float32),
        "likeliest_logps": np.take_along_axis(said, ranked, -1),
    }
    return Sequence(plain.ids, plain.masks, tokens=numbers)


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


def step(policy: nn.Module, chosen: list[Unit], budget: int, objective: list[Any] = OBJECTIVE) -> dict[str, Any]:
    """Result and gradients of one global batch; `policy` is a Scorer, wrapped or not."""
    policy.zero_grad()
    roles = Roles(policy, "tree", frozen_model(tiny_model("gpt2", torch.float64, seed=1), "tree"))
    runner = StepRunner(roles, Objective.parse(objective, load(run_code=True)), budget, Plain())
    result = runner.run(chosen, {"shifted": 0.5})
    return {"result": vars(result), "grads": [parameter.grad.clone() for parameter in policy.parameters()]}


def scenarios(policy: nn.Module) -> list[dict[str, Any]]:
    """Many micro-batches, one for each rank, and a batch that leaves a rank without work; then the same of completions that are
    compared with what their sampler reported."""
    trajectories = [Unit("trajectory", (rolled(one, at),)) for at, one in enumerate(ANSWERS)]
    return [
        *(step(policy, chosen, budget) for chosen, budget in ((units(), 8), (units(), 1000), (units()[:1], 1000))),
        *(step(policy, trajectories[:count], budget, COMPARED) for count, budget in ((4, 8), (4, 1000), (1, 1000))),
    ]


def main(output: str) -> None:
    dist.init_process_group("gloo")
    policy = DistributedDataParallel(Scorer(tiny_model("gpt2", torch.float64), "tree"))
    torch.save(scenarios(policy), f"{output}-{dist.get_rank()}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])

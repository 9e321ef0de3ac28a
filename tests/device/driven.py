"""What is driven on a GPU that is not there (`double`), in a process of its own: `test_device` starts it.

Every loss and weight against the CPU, whole runs, and what they must not do: wait for the device between two micro-batches.
"""

from __future__ import annotations

import copy
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

import double
from policy import online
from runs import LORA, PAIRS, assert_same, ledger, merged, weights

import burnish
from burnish.config.sections import OptimizerSection
from burnish.engine import step
from burnish.engine.optim import build_optimizer, load_optimizer_state, optimizer_state
from burnish.model.check import check_layout, foreseen_layout
from burnish.model.checkpointing import offloaded
from burnish.objective.reduce import Tally
from burnish.objective.terms import Metric
from burnish.registry import LossRecord, WeightRecord, load
from burnish.testing import evaluate, tiny_model, tiny_tokenizer
from burnish.testing.conformance import models
from burnish.testing.conformance.models import others_of, policy_of, run
from burnish.testing.conformance.subject import Subject, loss_subject, weight_subject

double.install()
models.tiny_model = partial(tiny_model, num_hidden_layers=1)  # a second layer shows nothing more

CUDA = torch.device("cuda")
REGISTRY = load(run_code=True)
MAKE: dict[str, Any] = {record.name: loss_subject for record in REGISTRY.records(LossRecord)}
MAKE |= {record.name: weight_subject for record in REGISTRY.records(WeightRecord)}
# Formulas that ask the device for sizes or mistakes, so many times a micro-batch.
WAIT = {"ordinal": 3, "plackett_luce": 1, "prm": 2, "top_entropy": 3}
QUESTIONS = [{"prompt": f"q {number}: "} for number in range(12)]
PPO = {
    "objective": [{"grpo": {"weights": ["is_correction"]}}, {"value": {"weight": 0.1}}, {"kl": {"weight": 0.1}}],
    "value": {"model": "copy"},
}
RUNS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "offline": (
        PAIRS,
        {
            "objective": [{"dpo": {"beta": 0.1}}, {"sft": {"on": "chosen", "targets": "all"}}],
            "train": {"precision": "bf16", "gradient_checkpointing": "selective"},
            "data": {"main": {"holdout": 0.25}},
            "evaluate": {"every": 2},
            "model": {"adapter": LORA},
        },
    ),
    "narrow weights": (
        PAIRS,
        {
            "objective": ["dpo"],
            "train": {"precision": "pure_bf16", "offload_activations": True, "gradient_checkpointing": True},
            "optimizer": {"rounding": "stochastic", "offload": True},
            "reference": {"sync": {"ema": {"decay": 0.5}}},
        },
    ),
    "online": (QUESTIONS, merged(online(backend={"hf_copy": {}}, advantage="gae", kl_in_reward={"beta": 0.01}), PPO)),
}


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Where the host waits for the device in the forward and backward passes of micro-batches from here on, except in the
    model's own code."""
    found: Counter[str] = Counter()

    def noting(method: Any) -> Any:
        def noted(*arguments: Any) -> Any:
            before = double.waits.copy()
            result = method(*arguments)
            found.update({what: count for what, count in (double.waits - before).items() if "/scorer.py:" not in what})
            return result

        return noted

    for name in ("_forward", "_backward"):
        monkeypatch.setattr(step.StepRunner, name, noting(getattr(step.StepRunner, name)))
    return found


@pytest.mark.parametrize("name", MAKE)
def test_a_loss_gives_the_same_on_the_device_and_waits_for_nothing(
    name: str, waited: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("burnish.testing.evaluation.check_layout", foreseen_layout)
    subject: Subject = MAKE[name](name, REGISTRY)
    objective, rows = subject.objective, subject.examples[0]
    wanted = run(objective, rows)
    policy, others = copy.deepcopy((policy_of(objective), others_of(objective)))
    found = run(objective, rows, policy=policy.to(CUDA), others={role: one.to(CUDA) for role, one in others.items()})
    assert found.loss == pytest.approx(wanted.loss, rel=1e-10, abs=1e-12)
    assert found.metrics == pytest.approx(wanted.metrics, rel=1e-9, abs=1e-10)
    ours, theirs = (torch.cat([one.cpu().flatten() for one in result.grads.values()]) for result in (found, wanted))
    assert (ours - theirs).norm() <= 1e-10 * max(theirs.norm(), 1e-2)
    assert waited.total() == WAIT.get(name, 0), dict(waited)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_trains_and_goes_on_after_a_checkpoint(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    rows, changes = RUNS[name]
    tiny_model(head_dim=8).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    base = {"model": {"name": str(tmp_path / "model")}, "output": str(tmp_path / "run"), "checkpoint": {"every": 2}}
    small = {"train": {"batch_size": 4, "steps": 3}, "optimizer": {"lr": 0.01}}
    config = merged(merged(merged(base, small), changes), {"train": {"steps": 3}})
    whole = weights(burnish.train(config, data=rows).path)
    again = burnish.train(config, data=rows, resume=True, step=2)
    assert_same(whole, weights(again.path))
    assert all(line["grad_norm"] > 0 for line in ledger(again.path) if "grad_norm" in line)


def test_what_processes_tell_one_another_lies_on_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has another GPU, and none could add to a sum that lies on its neighbour's."""
    told: list[step._Sums] = []

    def noted(mine: step._Sums) -> step._Sums:
        told.append(mine)
        return mine

    monkeypatch.setattr(step, "_gathered", noted)
    evaluate(["dpo"], PAIRS[:2], tiny_model().to(CUDA), tiny_tokenizer(), reference=tiny_model(seed=1).to(CUDA))
    tallies = [tally for sums in told for metrics in sums.metrics.values() for tally in metrics.values()]
    assert {tally.moments.device.type for tally in tallies} == {"cpu"}


@pytest.mark.parametrize(("width", "capability"), [(4, (9, 0)), (8, (7, 5))])
def test_without_a_kernel_for_it_a_tree_is_attended_to_in_pieces(
    width: int, capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    assert check_layout(tiny_model(dtype=torch.bfloat16, head_dim=width).to(CUDA)).kind == "tree"


def test_extremes_of_a_metric_are_found_without_waiting() -> None:
    values = torch.tensor([3.0, -1.0, 7.0], device=CUDA)
    double.waits.clear()
    tallies = [Tally.of(Metric(values, (values < 5).to(values), how=how)) for how in ("min", "max")]  # type: ignore[arg-type]
    assert not double.waits
    assert [tally.value() for tally in tallies] == [-1.0, 3.0]


def test_activations_are_offloaded_from_a_device_without_a_number(moved: list[torch.Tensor]) -> None:
    """`cuda` is where `cuda:0` is."""
    weight = nn.Parameter(torch.ones(4, 4, device=CUDA))
    with offloaded([weight], CUDA, smallest_bytes=0):
        output = (torch.ones(3, 4, device=CUDA) @ weight).exp().sum()
    torch.autograd.backward(output)
    assert [list(tensor.shape) for tensor in moved] == [[3, 4], [3, 4]]
    assert weight.grad is not None


def test_offloaded_states_are_put_back_where_they_wait() -> None:
    section = OptimizerSection(name="adamw", lr=0.1, rounding="kahan", offload=True)
    weight = nn.Parameter(torch.ones(4, 4, device=CUDA, dtype=torch.bfloat16))
    names, optimizers = {weight: "weight"}, [build_optimizer(section, [("weight", weight)]) for _ in range(2)]
    weight.grad = torch.ones_like(weight)
    optimizers[0].step()
    load_optimizer_state(optimizers[1], names, optimizer_state(optimizers[0], names))
    places = {key: state.device.type for key, state in optimizers[1].state[weight].items() if state.ndim}
    assert places == {"exp_avg": "cpu", "exp_avg_sq": "cpu", "burnish_rest": "cuda"}
    optimizers[1].step()

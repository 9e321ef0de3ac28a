"""Two processes are one: gradients, parameters, ledger, resume; under DDP and FSDP2, over gloo."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from importlib.resources import files
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from policy import online
from ranks import train_rank
from runs import LORA, MakeConfig, assert_same, ledger, merged, weights
from safetensors.torch import load_file
from torch import Tensor

from burnish.rollout.journal import Journal
from burnish.testing import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.multiprocess

SHORT = """
def short(completions, **columns):
    return [-float(len(text)) for text in completions]
"""
SGD = {"optimizer": {"name": "sgd", "lr": 0.1}, "train": {"micro_batch_tokens": 64}}


def run_ranks(
    children: ForkServerContext, world: int, config: dict[str, Any], *, fsdp: bool = False, **options: Any
) -> dict[int, dict[str, Tensor]]:
    """Train in `world` processes; returns the gradients of every step."""
    folder = Path(config["output"]).with_suffix(".gradients")
    folder.mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = (world, port, fsdp, str(folder), config, options)
    processes = [children.Process(target=train_rank, args=(rank, *arguments)) for rank in range(world)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(400)
    assert [process.exitcode for process in processes] == [0] * world
    return {int(file.name): load_file(file) for file in folder.iterdir()}


def flat(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensors[name].double().flatten() for name in sorted(tensors)])


def distance(left: dict[str, Tensor], right: dict[str, Tensor]) -> float:
    """|left - right| / |left|."""
    assert left.keys() == right.keys()
    return float((flat(left) - flat(right)).norm() / flat(left).norm())


@pytest.mark.parametrize("family", ["llama", "llama_untied", "adapter"])
def test_two_processes_take_the_steps_of_one(
    make_config: MakeConfig, children: ForkServerContext, tmp_path: Path, family: str
) -> None:
    model: dict[str, Any] = {}
    if family == "adapter":
        model = {"adapter": LORA}
    elif family == "llama_untied":
        tiny_model(family).save_pretrained(tmp_path / family)
        tiny_tokenizer().save_pretrained(tmp_path / family)
        model = {"name": str(tmp_path / family)}
    (tmp_path / "short.py").write_text(SHORT)
    rewards = {"rewards": [f"{tmp_path}/short.py:short"], "sampling": {"max_new_tokens": 3}}
    evaluated = {"data": {"main": {"holdout": 0.2}}, "evaluate": {"every": 3, "at_start": True, **rewards}}
    alone = tmp_path / "alone"
    expected = run_ranks(children, 1, make_config(**SGD, **evaluated, model=model, output=str(alone)))
    for fsdp in (False, True):
        both = tmp_path / f"both-{fsdp}"
        got = run_ranks(children, 2, make_config(**SGD, **evaluated, model=model, output=str(both)), fsdp=fsdp)
        assert expected.keys() == got.keys() == set(range(6))
        for step in expected:
            assert distance(expected[step], got[step]) < 1e-5
        for name, tensor in weights(alone).items():
            torch.testing.assert_close(weights(both)[name], tensor, rtol=1e-6, atol=1e-6)
        for one, two in zip(ledger(alone), ledger(both), strict=True):
            assert one == pytest.approx(two, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    ("adapter", "fsdp"), [(None, False), (None, True), (LORA, True)], ids=["ddp", "fsdp2", "fsdp2 adapter"]
)
def test_resume_is_exact_on_two_processes(
    make_config: MakeConfig, children: ForkServerContext, tmp_path: Path, adapter: Any, fsdp: bool
) -> None:
    changes: dict[str, Any] = {"model": {"adapter": adapter}} if adapter else {}
    run_ranks(children, 2, make_config(**changes, output=str(tmp_path / "whole")), fsdp=fsdp)
    config = make_config(**changes, checkpoint={"every": 3})
    run_ranks(children, 2, config, fsdp=fsdp)
    for file in (tmp_path / "run" / "model").iterdir():
        file.unlink()
    run_ranks(children, 2, config, fsdp=fsdp, resume=True, step=3)
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "run"))


PPO: dict[str, Any] = {"value": {"model": "copy"}, "objective": [{"grpo": {}}, {"value": {"weight": 0.1}}]}
COMPARED = [*online()["objective"], {"dppo": {"divergence": "topk_tv", "top_k": 4, "threshold": 1e-3}}]


@pytest.mark.parametrize(
    ("changes", "fsdp"), [({}, False), ({}, True), (PPO, False)], ids=["ddp", "fsdp2", "ddp, a critic of its own"]
)
def test_two_processes_roll_out_and_learn_like_one(
    make_config: MakeConfig, children: ForkServerContext, tmp_path: Path, changes: dict[str, Any], fsdp: bool
) -> None:
    def config(name: str) -> dict[str, Any]:
        rolled = online(**({"advantage": "gae"} if changes else {})) | {"objective": COMPARED} | changes
        return merged(make_config(**rolled, output=str(tmp_path / name)), SGD | {"train": {"steps": 5}})

    expected = run_ranks(children, 1, config("alone"))
    got = run_ranks(children, 2, config("both"), fsdp=fsdp)
    assert expected.keys() == got.keys() == set(range(5))
    for step in expected:
        assert distance(expected[step], got[step]) < 1e-5
    rollouts = [Journal(tmp_path / name / "rollouts").read(1) or [] for name in ("alone", "both")]
    assert [one.ids.tolist() for one in rollouts[0]] == [one.ids.tolist() for one in rollouts[1]]
    if not changes:
        masked = [[line["mask_ratio/overall_mean"] for line in ledger(tmp_path / name)] for name in ("alone", "both")]
        assert masked[0] == pytest.approx(masked[1])
        assert 0 < max(masked[0]) < 1
        alone, both = (np.concatenate([one.tokens["likeliest_logps"] for one in each]) for each in rollouts)
        np.testing.assert_allclose(both, alone, atol=1e-4)


@pytest.mark.parametrize(
    ("adapter", "fsdp"), [(None, False), (None, True), (LORA, True)], ids=["ddp", "fsdp2", "fsdp2 adapter"]
)
def test_two_processes_shake_hands_with_a_backend_of_its_own_weights(
    make_config: MakeConfig, children: ForkServerContext, tmp_path: Path, adapter: Any, fsdp: bool
) -> None:
    """Perturbed shard by shard, gathered, sent, predicted; then as with one process."""
    changes: dict[str, Any] = {"model": {"adapter": adapter}} if adapter else {}
    copied = {f"{Path(__file__).with_name('copied.py')}:Copied": {"model": make_config()["model"]["name"]}}

    def config(name: str) -> dict[str, Any]:
        rolled = online(backend=copied, receipts={"warn": 1e-4, "stop": 1e-3})
        return merged(make_config(**rolled, **changes, output=str(tmp_path / name)), SGD | {"train": {"steps": 5}})

    expected = run_ranks(children, 1, config("alone"))
    got = run_ranks(children, 2, config("both"), fsdp=fsdp)
    for step in expected:
        assert distance(expected[step], got[step]) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("fsdp", [False, True], ids=["ddp", "fsdp2"])
def test_two_processes_train_beside_a_backend_that_draws_on(
    make_config: MakeConfig, children: ForkServerContext, tmp_path: Path, fsdp: bool
) -> None:
    """The first plays in a thread while both train: no token too old, no prompt twice; and the journal alone trains to the same
    weights."""
    copied = {f"{Path(__file__).with_name('copied.py')}:Copied": {"model": make_config()["model"]["name"]}}
    rolled = online(epochs=1, max_staleness=2, backend=copied, receipts={"handshake": False})
    config = merged(make_config(**rolled), {"train": {"batch_size": 8, "steps": 5}, "checkpoint": {"every": 2, "keep": 5}})
    run_ranks(children, 2, config, fsdp=fsdp)
    run = tmp_path / "run"
    journal = Journal(run / "rollouts")
    batches = [journal.read(number) or [] for number in journal.numbers()]
    used = [group for batch in batches for group in {one.origin.group for one in batch}]
    assert len(used) == len(set(used)) == 10
    ages = {number - version for number, batch in enumerate(batches) for one in batch for version in one.versions[one.own]}
    assert {0} < ages <= {0, 1, 2}

    trained, files = weights(run), sorted((run / "rollouts").iterdir())
    run_ranks(children, 2, config, fsdp=fsdp, resume=True, step=2)
    assert sorted((run / "rollouts").iterdir()) == files
    assert_same(weights(run), trained)


def test_the_shipped_profile_launches(make_config: MakeConfig, tmp_path: Path) -> None:
    import yaml

    config = make_config(train={"steps": 2})
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    profile = files("burnish.engine") / "profiles" / "fsdp2.yaml"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(profile), "--num_processes", "2"]
    result = subprocess.run(
        [*launch, "-m", "burnish", "train", str(tmp_path / "run.yaml")],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert len(ledger(tmp_path / "run")) == 2
    assert result.stderr.count("step 2/2") == 1  # only the first process speaks

"""Packages that `burnish new` writes, as their author meets them: installed, tested, checked, and trained with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from burnish.templates.write import KINDS, Beginning, write_package

QUESTIONS = [
    {"question": f"{a} + 1 =", "options": [str(a), str(a + 1)], "correct": 1, "answer": str(a + 1)} for a in range(8)
]


@dataclass(frozen=True)
class Bench:
    """A virtual environment, and the folder in which the author works."""

    folder: Path
    python: Path

    def run(self, *command: str | Path) -> str:
        """Output of `python -m COMMAND`, which must succeed."""
        clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        clean |= {"BURNISH_CACHE": str(self.folder / "cache"), "OMP_NUM_THREADS": "1"}
        result = subprocess.run(
            [self.python, "-m", *command],
            cwd=self.folder,
            env=clean,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert result.returncode == 0, f"{' '.join(map(str, command))}\n{result.stdout[-6000:]}\n{result.stderr[-4000:]}"
        return result.stdout + result.stderr


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """An environment that sees this one's packages, with a package of every kind installed: try-loss, try-format, ..."""
    folder = tmp_path_factory.mktemp("bench")
    subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", folder / "venv"], check=True)
    made = Bench(folder, folder / "venv/bin/python")
    # What this environment itself has, were it a virtual one too: the option above sees only the system's.
    site = Path(made.run("sysconfig").split('purelib = "')[1].split('"')[0])
    (site / "outer.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    for kind in KINDS:
        write_package(Beginning(kind, f"try-{kind}"), folder / f"burnish-try-{kind}")
    made.run("pip", "install", "-q", "--no-deps", "--no-build-isolation", *packages(folder))
    return made


def packages(folder: Path) -> list[Path]:
    return [folder / f"burnish-try-{kind}" for kind in KINDS]


def test_they_are_in_order(bench: Bench) -> None:
    said = bench.run("burnish", "plugins", "check")
    assert "everything imports" in said


def test_their_tests_pass(bench: Bench) -> None:
    said = bench.run("pytest", "-q", "-p", "no:cacheprovider", *packages(bench.folder))
    assert " passed" in said
    assert "skipped" not in said


def test_a_run_with_them(bench: Bench) -> None:
    """Loss and weight on rows of the source, likelihood on rows of the format, judged by the reward; the recipe's adapter."""
    (bench.folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    (bench.folder / "losses.py").write_text(LOSSES)
    config = {
        "recipe": {"try-recipe": {"r": 4}},
        "model": {"name": "try-model"},
        "data": {
            "main": {"source": "try-source", "options": {"size": 16}},
            "questions": {"source": "questions.jsonl", "holdout": 0.25},
        },
        "objective": [
            {"try-loss": {"margin": 2.0, "weights": [{"try-weight": {"sharpness": 0.5}}]}},
            {"./losses.py:Likelihood": {"source": "questions"}},
        ],
        "train": {"batch_size": 4, "steps": 2},
        "evaluate": {"rewards": [{"try-reward": {"options": {"tolerance": 0.5}}}], "sampling": {"max_new_tokens": 4}},
        "output": "run",
    }
    (bench.folder / "run.yaml").write_text(yaml.safe_dump(config))
    bench.run("burnish", "train", "run.yaml")
    lines = [json.loads(line) for line in (bench.folder / "run/metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss/try-loss" in line]
    assert [line["step"] for line in steps] == [1, 2]
    assert all(0 < line["try-weight"] < 1 and "loss/likelihood" in line for line in steps)
    assert any("eval/rewards/try-reward/mean" in line for line in lines)
    assert json.loads((bench.folder / "run/model/adapter_config.json").read_text())["r"] == 4


def test_a_step_of_backend_environment_and_advantage(bench: Bench) -> None:
    """What the online half will do, by hand: play, judge, train on the very ids, send the new weights."""
    (bench.folder / "losses.py").write_text(LOSSES)
    (bench.folder / "online.py").write_text(ONLINE)
    said = bench.run("online")
    assert "trained on 4 trajectories" in said


@pytest.mark.slow
def test_a_loss_in_a_fresh_environment(tmp_path: Path, root: Path) -> None:
    """Without anything of this environment: core as a wheel, pytest, and the package as its author installs it."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    fresh = Bench(tmp_path, tmp_path / "venv/bin/python")
    write_package(Beginning("loss", "fresh"), tmp_path / "burnish-fresh")
    fresh.run("pip", "install", "-q", "flit_core>=3.10", "pytest>=8.3", "torch==2.13.0", root)
    fresh.run("pip", "install", "-q", "--no-deps", "--no-build-isolation", "-e", "burnish-fresh")
    assert "burnish, fresh" in fresh.run("burnish", "env")
    fresh.run("pytest", "-q", "burnish-fresh")
    fresh.run("burnish", "plugins", "check")
    (tmp_path / "small.py").write_text(SMALL)
    assert "trained fresh" in fresh.run("small")


SMALL = '''
import burnish
from burnish.testing import tiny_model, tiny_tokenizer

rows = [{"prompt": f"{n} + 1 =", "chosen": f" {n + 1}", "rejected": f" {n}"} for n in range(8)]
config = {"objective": ["fresh"], "train": {"batch_size": 4, "steps": 2}, "output": "run"}
result = burnish.train(config, model=tiny_model(), tokenizer=tiny_tokenizer(), data=rows)
assert result.metrics["loss/fresh"] > 0
print("trained", *burnish.load_config(result.path / "run.yaml").objective[0])
'''
LOSSES = '''
from dataclasses import dataclass

from burnish import Sequences, Signal, Terms, logp


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    def signals(self) -> frozenset[Signal]:
        return frozenset({logp()})

    def __call__(self, batch: Sequences) -> Terms:
        return Terms(token=-batch.logp)


@dataclass(frozen=True, kw_only=True)
class Reinforce(Likelihood):
    def __call__(self, batch: Sequences) -> Terms:
        return Terms(token=-batch.logp * batch.field("advantages"))
'''
ONLINE = '''
import asyncio

import burnish
from burnish.config.sections import SamplingSection
from burnish.registry import AdvantageRecord, BackendRecord, EnvironmentRecord, ModelRecord, load
from burnish.rollout.contract import Task
from burnish.testing import groups
from transformers import AutoModelForCausalLM, AutoTokenizer

GROUP = 4
SAMPLING = SamplingSection(max_new_tokens=6, temperature=1.0)
registry = load()
folder = str(registry.find(ModelRecord, "try-model")().weights())
tokenizer = AutoTokenizer.from_pretrained(folder)
backend = registry.find(BackendRecord, "try-backend")(model=folder)
environment = registry.find(EnvironmentRecord, "try-environment")(turns=2)
advantage = registry.find(AdvantageRecord, "try-advantage")(limit=1.0)


async def play(member):
    task = Task(ids=tuple(tokenizer("Guess: ")["input_ids"]), tokenizer=tokenizer, columns={"secret": 4})
    return await environment(task, lambda ids: backend.generate(ids, SAMPLING, seed=member))


async def rollout():
    return await asyncio.gather(*map(play, range(GROUP)))


def row(episode, value):
    """The ids of an episode, of which those that were sampled are trained on."""
    prompt, *rest = episode.spans
    own = [span.sampled is not None for span in rest for _ in span.ids]
    ids = [token for span in rest for token in span.ids]
    return {"prompt_ids": list(prompt.ids), "completion_ids": ids, "completion_mask": own, "advantages": value}


episodes = asyncio.run(rollout())
rewards = groups([[float(len(episode.ids)) for episode in episodes]])
advantages = advantage(rewards).values.tolist()
model = AutoModelForCausalLM.from_pretrained(folder)
result = burnish.train(
    {"objective": ["losses:Reinforce"], "train": {"batch_size": GROUP, "steps": 1}, "output": "played"},
    model=model,
    tokenizer=tokenizer,
    data=[row(*each) for each in zip(episodes, advantages)],
)
receipt = asyncio.run(backend.update(1, model.state_dict()))
assert receipt.tensors.keys() == model.state_dict().keys()
assert set(asyncio.run(backend.generate([1, 2], SAMPLING)).versions) == {1}
print(f"trained on {len(episodes)} trajectories, loss {result.metrics['loss']:.3f}")
'''

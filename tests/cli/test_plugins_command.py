"""`burnish plugins`: what is installed, what is broken, and blocking."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from burnish.cli.main import app

Install = Callable[..., Path]

GOOD = """
from burnish import RewardRecord, hookimpl

@hookimpl
def burnish_rewards():
    return [RewardRecord(name="exact", target="fake_good.reward:Exact", summary="equal to the answer", api=1)]

@hookimpl
def burnish_run_started(run): ...
"""
REWARD = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Exact:
    strip: bool = True
    '''Whether space around it counts.'''
    def __call__(self, prompts, completions, completion_ids): return []
"""


def plugins(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["plugins", *arguments])


@pytest.fixture
def good(install: Install) -> Path:
    """One working plugin."""
    return install("good", GOOD, {"reward": REWARD}, version="2.0")


def test_list_names_what_each_provides_and_what_failed(good: Path, install: Install) -> None:
    install("bad", "import no_such")
    result = plugins("list")
    assert result.exit_code == 0
    lines = [line.split("  ") for line in result.stdout.splitlines()]
    assert [line[0].strip() for line in lines] == ["burnish", "bad", "good"]
    assert "FAILED ModuleNotFoundError: No module named 'no_such'" in result.stdout
    assert "burnish-good 2.0" in result.stdout
    assert "reward exact; burnish_run_started" in result.stdout


@pytest.mark.parametrize("name", ["good", "exact"])
def test_show_by_plugin_or_by_what_it_provides(good: Path, name: str) -> None:
    said = plugins("show", name).stdout
    assert said.startswith("good: burnish-good 2.0 (fake_good.plugin, ")
    assert "reward exact: equal to the answer" in said
    assert "option strip: true\n      Whether space around it counts." in said
    assert "observes burnish_run_started" in said


def test_show_of_a_failed_plugin_is_its_traceback(install: Install) -> None:
    install("bad", "def deep():\n    import no_such\ndeep()")
    said = plugins("show", "bad").stdout
    assert "in deep" in said
    assert "ModuleNotFoundError: No module named 'no_such'" in said


def test_show_of_something_unknown(good: Path) -> None:
    result = plugins("show", "exat")
    assert result.exit_code == 2
    assert "nothing of a plugin is named 'exat'. Did you mean 'exact'?" in result.stderr


def test_check_imports_everything(good: Path) -> None:
    result = plugins("check")
    assert result.exit_code == 0, result.stderr
    assert "2 plugins" in result.stdout


def test_check_says_what_is_wrong(good: Path, install: Install) -> None:
    install("bad", "import no_such")
    (good / "reward.py").write_text("Exatc = 1")
    result = plugins("check")
    assert result.exit_code == 1
    assert "plugin 'bad' (burnish-bad 1.0): ModuleNotFoundError" in result.stderr
    assert "has no 'Exact'. Did you mean 'Exatc'?" in result.stderr


def test_check_runs_the_code_of_a_config(good: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def reward(prompts, completions, completion_ids): return []\nnumber = 3\n")
    config = tmp_path / "run.yaml"
    config.write_text("evaluate: {rewards: [./mine.py:reward]}")
    assert plugins("check", str(config)).exit_code == 0
    rewards = "evaluate: {rewards: [./mine.py:reward, ./mine.py:number, ./mine.py:rewrad]}"
    config.write_text(f"{rewards}\nobjective: [./mine.py:reward]")
    result = plugins("check", str(config))
    assert result.exit_code == 1
    said = result.stderr.splitlines()
    assert any(line.startswith("objective.0: ") and "is not a dataclass" in line for line in said)
    assert any(line.startswith("evaluate.rewards.1: ") and "cannot be called" in line for line in said)
    assert any(line.startswith("evaluate.rewards.2: ") and "Did you mean 'reward'?" in line for line in said)


def test_a_plugin_can_be_left_out_before_its_import(good: Path, install: Install) -> None:
    install("noisy", "raise RuntimeError('imported')")
    result = CliRunner().invoke(app, ["--no-plugin", "noisy", "--no-plugin", "good", "plugins", "list"])
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["burnish"]
    assert "fake_noisy.plugin" not in sys.modules
    assert not os.environ.get("BURNISH_DISABLE_PLUGINS")  # for this command only


def test_leaving_out_what_is_not_installed_is_a_mistake(good: Path) -> None:
    result = CliRunner().invoke(app, ["--no-plugin", "goood", "plugins", "list"])
    assert result.exit_code == 2
    assert "Did you mean 'good'?" in result.stderr


LOSS = """
from burnish import LossRecord, hookimpl

@hookimpl
def burnish_losses():
    kept = {"summary": "-lp", "data": "sequence", "reduction": "token_mean", "api": 1}
    return [LossRecord(name="likely", target="fake_mine.loss:Likely", **kept)]
"""
LIKELY = '''
from dataclasses import dataclass
from burnish import Sequences, Terms, logp

@dataclass(frozen=True, kw_only=True)
class Likely:
    """Likelihood.

        L = -lp
    Source: folklore.
    Degenerate: certainty costs nothing.
        >>> L(certain) == 0
    """
    def signals(self):
        return frozenset({logp()})

    def __call__(self, batch: Sequences) -> Terms:
        return Terms(token=-batch.logp)
'''


@pytest.mark.parametrize("name", ["mine", "burnish-mine", "likely", "fake_mine.loss:Likely"])
def test_check_runs_the_kit_on_what_is_named(install: Install, name: str) -> None:
    install("mine", LOSS, {"loss": LIKELY})
    result = plugins("check", name)
    assert result.exit_code == 0, result.stdout
    assert "checks passed" in result.stdout
    assert "degenerate" in result.stdout


def test_check_of_a_package_s_folder(install: Install, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project.entry-points.burnish]\nmine = "fake_mine.plugin"\n')
    result = plugins("check", str(tmp_path))
    assert result.exit_code == 2
    assert f"pip install -e {tmp_path}" in result.stderr.replace("\n", "")
    install("mine", LOSS, {"loss": LIKELY})
    result = plugins("check", str(tmp_path))
    assert result.exit_code == 0, result.stdout
    assert "loss likely" in result.stdout


def test_check_shows_what_failed(install: Install) -> None:
    install("mine", LOSS, {"loss": LIKELY.replace("token=-batch.logp", "token=1 - batch.logp")})
    result = plugins("check", "mine")
    assert result.exit_code == 1
    assert "`L(certain) == 0` does not hold: 1, 1, 1 and 0" in " ".join(result.stdout.split())


def test_check_of_what_nobody_knows(good: Path) -> None:
    result = plugins("check", "exat")
    assert result.exit_code == 2
    assert "Did you mean 'exact'?" in result.stderr

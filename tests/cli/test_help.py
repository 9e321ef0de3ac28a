"""The command line starts fast, imports a command when it is used, and turns mistakes into one message."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from burnish import __version__
from burnish.cli import main
from burnish.cli.main import COMMANDS, app
from burnish.errors import ConfigError

HEAVY = ("torch", "transformers", "accelerate", "peft", "datasets", "pydantic", "numpy", "pandas", "asyncio")
MOST_MODULES = 200  # an import costs about a millisecond: help has to come while a finger is still on the key
SCRIPT = """
import sys
from burnish.cli.main import app
try:
    app({arguments!r})
except SystemExit as error:
    assert not error.code, error.code
print("heavy:", [name for name in {heavy!r} if name in sys.modules])
print("plugins:", [name for name in sys.modules if name.startswith("burnish_")])
print("modules:", len(sys.modules))
"""


def run(*arguments: str, heavy: tuple[str, ...] = HEAVY) -> str:
    """Standard output of the command in a fresh interpreter, and which heavy modules it imported."""
    script = SCRIPT.format(arguments=list(arguments), heavy=heavy)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    said = run("--help")
    assert "heavy: []" in said
    assert "plugins: []" in said
    assert int(said.rpartition("modules: ")[2]) < MOST_MODULES
    for name, summary in COMMANDS.items():
        assert f"  {name}" in said
        assert summary in said


def test_every_command_has_one_file() -> None:
    files = {path.stem for path in Path(main.__file__).parent.glob("*.py")} - {"__init__", "main"}
    assert files == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_imports_neither_torch_nor_transformers(name: str) -> None:
    said = run(name, "--help", heavy=("torch", "transformers"))
    assert f"burnish {name}" in said or "Usage" in said
    assert "heavy: []" in said
    assert isinstance(import_module(f"burnish.cli.{name}").app, typer.Typer)


def test_plugins_are_listed_without_torch() -> None:
    assert "heavy: []" in run("plugins", "list", heavy=("torch", "transformers"))


def test_importing_burnish_is_light() -> None:
    script = f"import sys, burnish; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_version() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"burnish {__version__}\n"


def test_a_misspelt_command_is_answered() -> None:
    result = CliRunner().invoke(app, ["trian"])
    assert result.exit_code == 2
    assert "Did you mean 'train'?" in result.stderr


def test_a_users_mistake_is_one_message(tmp_path: Path) -> None:
    missing = str(tmp_path / "gone.yaml")
    result = CliRunner().invoke(app, ["config", "show", missing])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == f"error: there is no config file {missing}.\n"


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--debug", "config", "show", str(tmp_path / "gone.yaml")])
    assert isinstance(result.exception, ConfigError)

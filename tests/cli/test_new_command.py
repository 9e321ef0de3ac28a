"""`burnish new`: what it writes, for every kind, and which names it refuses. That the packages work: tests/integration."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from burnish.cli.main import app
from burnish.cli.new import KINDS as WORDS
from burnish.registry import RECORD_HOOKS
from burnish.templates.write import KINDS, Beginning


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def new(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["new", *arguments])


def refused(*arguments: str) -> str:
    """The one message; nothing was written."""
    before = sorted(Path().rglob("*"))
    result = new(*arguments)
    assert result.exit_code == 2
    assert sorted(Path().rglob("*")) == before
    return result.stderr.removeprefix("error: ").strip()


def test_the_kinds_are_those_of_records() -> None:
    without_example = {"kernel", "parser", "curriculum"}
    assert KINDS.keys() == {record.word for record in RECORD_HOOKS.values()} - without_example
    assert re.findall(r"\w+", WORDS.replace(" or ", " ")) == list(KINDS)


def test_what_is_said() -> None:
    said = new("loss", "squared_margin").stdout.splitlines()
    assert said[-4:] == [
        "next:",
        "  pip install -e burnish-squared-margin",
        "  pytest burnish-squared-margin",
        "  burnish plugins check squared-margin",
    ]
    assert [line.removeprefix("wrote burnish-squared-margin/") for line in said[:-4]] == [
        "README.md",
        "burnish_squared_margin/__init__.py",
        "burnish_squared_margin/loss.py",
        "burnish_squared_margin/plugin.py",
        "burnish_squared_margin/py.typed",
        "pyproject.toml",
        "tests/test_squared_margin.py",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_the_anatomy(kind: str, folder: Path) -> None:
    """As tests/layout asks of the house's own packages; no field of a template is left, and lint has nothing to say."""
    assert new(kind, "two_words", "--output", "deep/er").exit_code == 0
    made = folder / "deep/er"
    project = tomllib.loads((made / "pyproject.toml").read_text())
    assert project["project"]["name"] == "burnish-two-words"
    assert project["project"]["entry-points"]["burnish"] == {"two-words": "burnish_two_words.plugin"}
    assert project["project"]["dependencies"] == ["burnish>=0.1,<0.2"]
    texts = {str(path.relative_to(made)): path.read_text() for path in made.rglob("*") if path.is_file()}
    assert texts.keys() >= {"README.md", "burnish_two_words/plugin.py", "burnish_two_words/py.typed", "tests/test_two_words.py"}
    assert not [path for path, text in texts.items() if "$" in text]
    assert 'name="two_words"' in texts["burnish_two_words/plugin.py"]
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "E,F,I,B,UP", "--line-length", "128", "."]
    assert subprocess.run(ruff, cwd=made, capture_output=True, text=True, check=False).stdout == "All checks passed!\n"


@pytest.mark.parametrize(
    ("name", "class_name"),
    [("margin", "MarginLoss"), ("margin-loss", "MarginLoss"), ("loss", "Loss"), ("pairs", "PairsLoss"), ("a_2b-c", "A2bCLoss")],
)
def test_classes_end_with_their_kind(name: str, class_name: str) -> None:
    assert Beginning("loss", name).class_name == class_name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("los", "mine"), "no kind of plugin named 'los'. Did you mean 'loss'? Known: advantage, backend, "),
        (("loss", "My Loss"), "'My Loss' cannot name a loss: a name is lower-case words joined by '-' or '_', such as 'my-"),
        (("advantage", "2x"), "'2x' cannot name an advantage: a name is lower-case words joined by '-' or '_', such as 'x'."),
        (("loss", "../up"), "'../up' cannot name a loss"),
        (("loss", "burnish-mine"), "'burnish-mine' would become burnish-burnish-mine: leave out the 'burnish-'."),
        (("loss", "dpo"), "the package burnish-dpo 0.1.0 is installed already. Take another name, or uninstall that one."),
        (("loss", "bco-pair"), "there is a loss 'bco_pair' already, from burnish-bco 0.1.0. Take another name"),
        (("format", "prompt-completion"), "there is a format 'prompt_completion' already, from burnish 0.1.0."),
        (("backend", "hf"), "there is a backend 'hf' already, from burnish 0.1.0."),
    ],
)
def test_names_that_are_refused(arguments: tuple[str, str], said: str) -> None:
    assert refused(*arguments).startswith(said)


def test_a_name_may_be_that_of_another_kind() -> None:
    assert new("weight", "bco-pair").exit_code == 0


def test_nothing_is_overwritten(folder: Path) -> None:
    (folder / "burnish-mine").mkdir()
    assert refused("loss", "mine") == "there is a burnish-mine already. Take another name, or say where with --output."
    (folder / "file").write_text("mine")
    assert refused("loss", "mine", "--output", "file").startswith("there is a file already.")
    assert (folder / "file").read_text() == "mine"


def test_without_arguments_it_teaches() -> None:
    said = CliRunner().invoke(app, ["new"])
    assert "burnish new loss margin" in said.output

"""A part of an objective that reads a model which the config rules out is refused, with the line that does."""

from __future__ import annotations

from pathlib import Path

import pytest

from burnish.config import Config, load_config
from burnish.errors import ConfigError
from burnish.objective.entries import parse_objective
from burnish.objective.roles import check_roles
from burnish.registry import load

REGISTRY = load()


def config(folder: Path, text: str) -> Config:
    """A config file's."""
    (folder / "run.yaml").write_text(text)
    return load_config(folder / "run.yaml", registry=REGISTRY)


def test_a_reference_where_there_is_none(tmp_path: Path) -> None:
    given = config(tmp_path, "reference: {model: none}\nobjective: [dpo]\n")
    check_roles(given, parse_objective(["simpo"], REGISTRY))
    with pytest.raises(ConfigError) as error:
        check_roles(given, parse_objective(["simpo", "dpo"], REGISTRY))
    assert "run.yaml:2: objective.1: dpo compares with a reference, but" in str(error.value)
    assert "run.yaml:1 says `reference.model: none`" in str(error.value)


def test_a_teacher_where_there_is_none(tmp_path: Path) -> None:
    given = config(tmp_path, "objective: [divergence]\n")
    with pytest.raises(ConfigError, match="divergence learns from a teacher, but there is none"):
        check_roles(given, parse_objective(given.objective, REGISTRY))
    named = config(tmp_path, "objective: [divergence]\nteacher: {model: some/model}\n")
    check_roles(named, parse_objective(named.objective, REGISTRY))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("reference: {model: some/model}", "reference.model: no part of the objective compares with a reference; drop it"),
        ("teacher: {model: some/model}", "teacher.model: no part of the objective learns from a teacher; drop it, or add"),
    ],
)
def test_a_model_that_nothing_reads(tmp_path: Path, text: str, message: str) -> None:
    given = config(tmp_path, f"objective: [sft]\n{text}\n")
    with pytest.raises(ConfigError, match=rf"run.yaml:2: {message}"):
        check_roles(given, parse_objective(given.objective, REGISTRY))

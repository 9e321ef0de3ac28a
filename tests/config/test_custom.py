"""A config with code in it is code: it is found, hashed and compared without being run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from burnish.config import custom_values, load_config
from burnish.config.custom import named_values
from burnish.errors import ConfigError
from burnish.registry import Registry, differences

Write = Callable[[str], Path]

EVERYWHERE = """
model: {name: ./mine.py:model}
data: {main: {source: ./mine.py:rows, format: ./mine.py:Format}}
objective:
- ./mine.py:Loss: {beta: 1}
- nll: {weights: ./mine.py:WeightAlone}
- nll: {name: two, weights: [half, ./mine.py:Weight, {./mine.py:Other: {a: 1}}]}
- nll: {name: three, weights: {./mine.py:Mapped: {}}}
evaluate: {rewards: [{./mine.py:reward: {weight: 2}}]}
"""


@pytest.fixture
def mine(write: Write) -> Path:
    """A file whose import would fail."""
    file = Path("mine.py").resolve()
    file.write_text("raise RuntimeError('ran')")
    return file


def test_code_is_found_wherever_it_is_named(kit: Registry, write: Write, mine: Path) -> None:
    found = custom_values(load_config(write(EVERYWHERE), registry=kit))
    names = ("model", "rows", "Format", "Loss", "WeightAlone", "Weight", "Other", "Mapped", "reward")
    assert list(found) == [f"{mine}:{name}" for name in names]
    assert len(set(found.values())) == 1


def test_a_changed_file_is_a_difference(kit: Registry, write: Write, mine: Path) -> None:
    config = load_config(write("objective: [./mine.py:Loss]"), registry=kit)
    before = custom_values(config)
    mine.write_text("changed = True")
    now = custom_values(config)
    key = f"{mine}:Loss"
    assert differences(before, now) == [f"{key}: {before[key]} -> {now[key]}"]


def test_paths_of_named_values(kit: Registry, write: Write, mine: Path) -> None:
    config = load_config(write(EVERYWHERE), registry=kit)
    paths = {named.path: named.at for named in named_values(config)}
    assert paths["objective.0"] == f"objective.0.{mine}:Loss"
    assert paths["objective.2.nll.weights.1"] == f"objective.2.nll.weights.1.{mine}:Weight"
    assert paths["evaluate.rewards.0"] == f"evaluate.rewards.0.{mine}:reward.options"
    assert paths["data.main.source"] == "data.main.options"
    assert all(config.origin(named.path).startswith("run.yaml") for named in named_values(config) if "mine" in named.value)


def test_code_that_is_gone_is_refused_with_its_place(kit: Registry, write: Write, mine: Path) -> None:
    mine.unlink()
    with pytest.raises(ConfigError) as error:
        load_config(write(EVERYWHERE), registry=kit)
    lines = str(error.value).splitlines()
    assert len(lines) == 9
    assert lines[0].startswith("run.yaml:2: model.name: ")

"""The JSON Schema accepts what loads, refuses what does not, and knows the options of installed plugins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from burnish.config import load_config, with_plugin_options
from burnish.config.schema import config_schema
from burnish.config.sections import ENTRY_WORDS
from burnish.errors import ConfigError
from burnish.registry import Registry, load

GOOD: list[dict[str, Any]] = [
    {},
    {"recipe": "both"},
    {"recipe": {"both": {"beta": 0.2}}, "optimizer": {"lr": 0}},
    {"objective": ["pairs", {"nll": None}, {"nll": {"on": "chosen", "name": "two", "reduction": "constant(5)"}}]},
    {"objective": [{"pairs": {"beta": 1, "inner": {"kind": "b"}, "bins": [1], "weights": ["half", {"half": {"share": 1.0}}]}}]},
    {"model": {"name": "some/hub-id", "adapter": {"lora": {"targets": ["q"]}}}, "reference": {"model": "none"}},
    {"data": {"main": {"source": "numbers", "options": {"size": 1}}, "b": {"source": "x.jsonl", "options": {"any": 1}}}},
    {"evaluate": {"rewards": ["exact", {"length": {"weight": 2, "options": {"target": 1}}}]}, "track": "wandb"},
]
BAD: list[dict[str, Any]] = [
    {"trian": {}},
    {"recipe": "bth"},
    {"recipe": {"both": {"btea": 0.2}}},
    {"objective": ["dpo"]},
    {"objective": [{"pairs": {"btea": 1}}]},
    {"objective": [{"pairs": {"form": "square"}}]},
    {"objective": [{"pairs": {"weights": [{"half": {"shar": 1}}]}}]},
    {"objective": [{"pairs": {}, "nll": {}}]},
    {"data": {"main": {"source": "numbers", "options": {"sise": 1}}}},
    {"data": {"main": {"source": "x", "format": "chats"}}},
    {"evaluate": {"rewards": [{"length": {"options": {"target": "x"}}}]}},
    {"track": "tb"},
    {"train": {"seed": "3"}},
]


@pytest.fixture
def validator(kit: Registry) -> jsonschema.Draft202012Validator:
    """A validator of the schema, which is itself valid."""
    schema = config_schema(kit)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("config", GOOD)
def test_what_loads_is_accepted(kit: Registry, validator: jsonschema.Draft202012Validator, config: dict[str, Any]) -> None:
    with_plugin_options(load_config(config, registry=kit), kit)
    assert [error.message for error in validator.iter_errors(config)] == []


@pytest.mark.parametrize("config", BAD)
def test_what_does_not_load_is_refused(
    kit: Registry, validator: jsonschema.Draft202012Validator, config: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError):
        with_plugin_options(load_config(config, registry=kit), kit)
    assert list(validator.iter_errors(config))


def test_code_may_stand_for_a_name(validator: jsonschema.Draft202012Validator) -> None:
    assert validator.is_valid({"objective": [{"./mine.py:Loss": {"any": 1}}, "a.b:C"]})


def test_editors_see_what_keys_mean(kit: Registry) -> None:
    schema = config_schema(kit)
    assert "Optimiser steps" in schema["$defs"]["TrainSection"]["properties"]["steps"]["description"]
    assert schema["$defs"]["loss.pairs"]["properties"]["beta"]["default"] == 0.1
    assert schema["$defs"]["loss.pairs"]["properties"]["beta"]["description"] == "How far to pull;\nabove 0."
    assert set(schema["$defs"]["entry"]["properties"]) == set(ENTRY_WORDS)


def test_a_plugin_that_cannot_be_imported_takes_anything_and_says_why(install: Callable[..., Path]) -> None:
    plugin = (
        "from burnish import LossRecord, hookimpl\n@hookimpl\ndef burnish_losses():\n"
        "    common = {'summary': 's', 'data': 'sequence', 'reduction': 'token_mean', 'api': 1}\n"
        "    return [LossRecord(name='bad', target='fake_bad.loss:X', **common)]"
    )
    install("bad", plugin, {"loss": "import no_such"})
    schema = config_schema(load())
    assert "No module named 'no_such'" in schema["$defs"]["loss.bad"]["description"]
    assert jsonschema.Draft202012Validator(schema).is_valid({"objective": [{"bad": {"any": 1}}]})


@pytest.mark.parametrize("name", ["dpo.yaml", "grpo.yaml"])
def test_the_quickstarts_fit_the_schema_of_this_installation(root: Path, name: str) -> None:
    from burnish.config import load_config
    from burnish.config.reading import read_file

    installed = {plugin.name for plugin in load().plugins}
    if not {"dpo", "grpo", "math", "sft", "reasoning-gym"} <= installed:
        pytest.skip("the quickstarts' plugins are not installed")
    path = root / "docs" / "quickstart" / name
    assert load_config(path, registry=load()).evaluate.at_start
    config = read_file(path).plain()
    assert list(jsonschema.Draft202012Validator(config_schema(load())).iter_errors(config)) == []

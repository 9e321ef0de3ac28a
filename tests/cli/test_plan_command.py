"""`burnish plan`: every section, from a model folder that has no weights file at all; and numbers derived by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from burnish.cli.main import app
from burnish.cli.plan import readable
from burnish.config import load_config
from burnish.config.sections import OptimizerSection
from burnish.data.units import Sequence, Unit
from burnish.engine.forecast import Forecast, count_tokens, forecast
from burnish.engine.memory import optimizer_bytes
from burnish.registry import load
from burnish.testing.tiny import tiny_model, tiny_tokenizer


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Ten pairs, a tiny Llama without its weights, and a config that trains it with dpo and sft."""
    model = tiny_model("llama")
    model.config.save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    rows = [{"prompt": f"question {index}", "chosen": " yes", "rejected": " no"} for index in range(10)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "run.yaml").write_text(
        f"model: {{name: '{tmp_path}/model'}}\n"
        f"data: {{main: {{source: '{tmp_path}/pairs.jsonl'}}}}\n"
        "objective: [dpo, sft: {on: chosen}]\n"
        "train: {batch_size: 4, epochs: 2}\n"
    )
    return tmp_path / "run.yaml"


def forecast_of(config: Path, *overrides: str) -> Forecast:
    registry = load()
    return forecast(load_config(config, overrides, registry), registry)


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["plan", *map(str, arguments)])


def test_every_section_is_printed_without_any_weights_file(config: Path) -> None:
    assert not list(config.parent.rglob("*.safetensors"))
    result = invoke(config, "train.seed=7")
    assert result.exit_code == 0, result.output
    assert [line for line in result.stdout.splitlines() if not line.startswith(" ")] == [
        "config", "data", "steps", "tokens", "memory", "off",
    ]  # fmt: skip
    assert "override" in next(line for line in result.stdout.splitlines() if "seed: 7" in line)
    assert "main: 10 rows" in result.stdout
    # Ten units in batches of four: an epoch has three steps, two epochs six.
    assert "6 steps of 4 units; an epoch has 3" in result.stdout
    assert "evaluation: nothing is held out" in result.stdout


def test_a_margin_that_no_part_reads(config: Path) -> None:
    rows = [{"prompt": f"question {index}", "chosen": " yes", "rejected": " no", "margin": 1.0} for index in range(10)]
    (config.parent / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    sentence = "  rows of main have a margin, which no part of the objective reads"
    assert sentence in invoke(config, "objective=[apo_zero]").stdout.splitlines()
    assert sentence not in invoke(config).stdout.splitlines()  # dpo adds it to its gap


def unit(*texts: str) -> Unit:
    def sequence(text: str) -> Sequence:
        ids = np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64)
        return Sequence(ids, {"all": np.arange(len(ids)) > 0})

    return Unit("preference", tuple(map(sequence, texts)))


def test_tokens_by_layout() -> None:
    # A pair: "abcde" + "abxyz1": 11 tokens packed, 2 shared, so 9 in a tree; padded 2 x 6 = 12.
    # Another: "abq" + "r": 4 packed, none shared; with the first pair it shares "ab": tree 9 + 1 + 1 = 11; padded 4 x 6 = 24.
    first, second = unit("abcde", "abxyz1"), unit("abq", "r")
    alone = count_tokens([[first]], 100, "tree")
    assert (alone.batches, alone.forwards, alone.padded, alone.packed, alone.tree) == (1, 1, 12, 11, 9)
    both = count_tokens([[first, second]], 100, "tree")
    assert (both.batches, both.forwards, both.padded, both.packed, both.tree) == (1, 1, 24, 15, 11)
    twice = count_tokens([[first], [first, second]], 9, "tree")
    assert (twice.batches, twice.forwards) == (2, 3)
    assert both.of("tree") == 11


def test_memory_by_part(config: Path) -> None:
    model = tiny_model("llama")
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    full = forecast_of(config).memory
    # Float32: 4 bytes each for weights, their gradients and the frozen copy; AdamW keeps two moments.
    assert full["weights"] == full["gradients"] == full["frozen models"] == 4 * num_parameters
    assert full["optimiser"] == 8 * num_parameters
    # Rehearsed: more than the logits of a step's tokens, which all wait for the backward pass, and the head's gradient [V, H].
    assert full["activations"] > 4 * model.config.vocab_size * model.config.hidden_size
    assert full["process"] > 10**8
    lora = forecast_of(config, "model.adapter={lora: {r: 1}}").memory
    assert "frozen models" not in lora
    assert lora["gradients"] < full["gradients"]
    assert lora["weights"] == full["weights"] + lora["gradients"]


def test_optimizer_states_are_measured() -> None:
    # SGD keeps nothing, with momentum one number, Adam two (and one counter in all).
    sizes = [
        optimizer_bytes(OptimizerSection(name=name, options=options), torch.float32, torch.device("cpu"))
        for name, options in (("sgd", {}), ("sgd", {"momentum": 0.9}), ("adamw", {}))
    ]
    assert sizes == pytest.approx([0, 4, 8], abs=0.01)


def test_why_features_are_off(config: Path) -> None:
    off = forecast_of(config, "model.layout=padded", "objective=[sft: {on: chosen}]").off
    assert off["prefix sharing"] == "model.layout is padded"
    assert off["reference"] == "no part of the objective compares with one"
    assert "prefix sharing" not in forecast_of(config).off
    assert "evaluation" not in forecast_of(config, "data.main.holdout=0.3", "evaluate.rewards=[]").off


def test_code_in_a_config_is_not_run(config: Path) -> None:
    loss = config.parent / "mine.py"
    loss.write_text("raise SystemExit('code was run')\n")
    config.write_text(config.read_text().replace("[dpo, sft: {on: chosen}]", "['./mine.py:Loss']"))
    found = forecast_of(config)
    assert found.roles is None
    assert "which only `train` runs" in found.off["reference and teacher"]
    assert found.tokens.batches == 6
    assert invoke(config).exit_code == 0


def test_mistakes_are_told_as_in_training(config: Path) -> None:
    for override, message in (
        ("objective=[bco_pairs]", "Did you mean 'bco_pair'"),
        ("model.name=/nowhere", "there is no such folder"),
        ("data.main.source=/nowhere.jsonl", "there is no data at /nowhere.jsonl"),
        ("objective=[{sft: {on: liked}}]", "liked"),
    ):
        result = invoke(config, override)
        assert result.exit_code == 2
        assert message in result.stderr


def test_sizes_for_people() -> None:
    assert [readable(size) for size in (2_100, 538_000_000, 1_250_000_000)] == ["2 kB", "538 MB", "1.2 GB"]

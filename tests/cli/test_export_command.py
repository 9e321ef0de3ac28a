"""`burnish export`: checkpoints and runs become folders that transformers loads; merging keeps the numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from burnish.cli.main import app
from burnish.engine.checkpoint import WEIGHTS, Trained, save_checkpoint
from burnish.model.adapters import add_lora
from burnish.testing.tiny import tiny_model, tiny_tokenizer

IDS = torch.tensor([[1, 2, 3, 4]])


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def changed(model: Any) -> Any:
    """`model` with its trained parameters moved, as training would."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    return model


def make_run(run: Path, model: Any, adapter: str) -> Path:
    """A run that was killed after its checkpoint of step 3: no `model/` yet. Its objective names code that is gone."""
    base = run.parent / "base"
    tiny_model("llama").save_pretrained(base)
    tiny_tokenizer().save_pretrained(base)
    run.mkdir()
    (run / "run.yaml").write_text(
        f"model: {{name: '{base}', {adapter}}}\ndata: {{main: {{source: nowhere.jsonl}}}}\nobjective: [./gone.py:Loss]\n"
    )
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    save_checkpoint(run / "checkpoints" / "step-000003", Trained(model, optimizer), {"step": 3}, {}, Accelerator(cpu=True))
    return run


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits  # type: ignore[no-any-return]


def test_a_checkpoint_of_full_training(tmp_path: Path) -> None:
    model = changed(tiny_model("llama"))
    run = make_run(tmp_path / "run", model, "dtype: float32")
    for what in (run, run / "checkpoints" / "step-000003"):
        output = tmp_path / f"out-{what.name}"
        result = invoke(what, output)
        assert result.exit_code == 0, result.output
        assert "step-000003" in result.stdout
        torch.testing.assert_close(logits(AutoModelForCausalLM.from_pretrained(output)), logits(model))
        assert AutoTokenizer.from_pretrained(output).chat_template == tiny_tokenizer().chat_template


def test_an_adapter_is_exported_as_one_and_merged_on_request(tmp_path: Path) -> None:
    model = changed(add_lora(tiny_model("llama"), r=2))
    run = make_run(tmp_path / "run", model, "adapter: {lora: {r: 2}}")
    assert invoke(run, tmp_path / "adapter").exit_code == 0
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    result = invoke(run, tmp_path / "merged", "--merge")
    assert result.exit_code == 0, result.output
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(merged), logits(model), atol=1e-4, rtol=1e-4)
    # The exported adapter is itself something to export.
    assert invoke(tmp_path / "adapter", tmp_path / "again", "--merge").exit_code == 0
    torch.testing.assert_close(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "again")), logits(merged))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{run}", "{run}"], "exists; choose another folder"),
        (["{run}", "{out}", "--merge"], "has no adapter to merge"),
        (["{run}", "{out}", "--step", "7"], "does not have the checkpoint of step 7; it has the steps [3]"),
    ],
)
def test_refusals(tmp_path: Path, arguments: list[str], message: str) -> None:
    run = make_run(tmp_path / "run", tiny_model("llama"), "dtype: float32")
    result = invoke(*(argument.format(run=run, out=tmp_path / "out") for argument in arguments))
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_damaged_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model("llama"), "dtype: float32")
    weights = run / "checkpoints" / "step-000003" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    for what in (run, weights.parent):
        result = invoke(what, tmp_path / "out")
        assert result.exit_code == 2
        assert f"{WEIGHTS} is damaged" in result.stderr

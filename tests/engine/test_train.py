"""A run from config to model: its ledger, its model, what it is told and what it refuses."""

from __future__ import annotations

import errno
import json
import math
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import LORA, PAIRS, TEXTS, MakeConfig, assert_same, ledger, weights
from transformers import AutoModelForCausalLM, AutoTokenizer

import burnish.engine.checkpoint as checkpoint_module
from burnish import load_config
from burnish.api import train
from burnish.errors import BurnishError, ConfigError, RunError
from burnish.model.scorer import base_of
from burnish.testing import tiny_model, tiny_tokenizer

EVALUATED = {"data": {"main": {"holdout": 0.25}}, "evaluate": {"every": 2, "at_start": True}}


def test_the_ledger_of_a_run(make_config: MakeConfig, tmp_path: Path) -> None:
    result = train(make_config(**EVALUATED, checkpoint={"every": 2}))
    config = load_config(tmp_path / "run" / "run.yaml")
    assert config.train.micro_batch_tokens != "auto"
    assert config.model.layout == "tree"
    assert config.data["main"].format != "auto"
    assert "# default" in (tmp_path / "run" / "run.yaml").read_text()
    plugins = json.loads((tmp_path / "run" / "plugins.json").read_text())
    assert plugins["dpo"]["distribution"] == "burnish-dpo"
    lines = ledger(tmp_path / "run")
    assert [line["step"] for line in lines] == [0, 1, 2, 2, 3, 4, 4, 5, 6, 6]
    wanted = {"loss", "loss/dpo", "grad_norm", "learning_rate", "epoch", "num_tokens", "rewards/accuracies", "logps/chosen"}
    assert wanted <= lines[1].keys()
    assert {"eval/loss", "eval/loss/dpo", "eval/rewards/margins"} <= lines[0].keys()
    assert lines[0]["eval/loss"] == pytest.approx(math.log(2))  # the policy still is its reference
    assert lines[1]["epoch"] == pytest.approx(1 / 3)  # 18 or so rows left, 8 a batch, three batches to an epoch
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["step-000004", "step-000006"]
    assert result.evaluation["eval/loss"] == lines[-1]["eval/loss"]
    assert result.metrics["loss"] == lines[-2]["loss"]


@pytest.mark.parametrize(
    ("checkpoint", "written"),
    [({"every": 2}, ["step-000002", "step-000003"]), ({"every": 4}, []), ({"every": None}, []), ({}, [])],
)
def test_checkpoints_come_in_a_long_run(make_config: MakeConfig, tmp_path: Path, checkpoint: Any, written: list[str]) -> None:
    train(make_config(checkpoint=checkpoint, train={"steps": 3}))
    assert sorted(path.name for path in (tmp_path / "run").glob("checkpoints/*")) == written


@pytest.mark.parametrize("adapter", [None, LORA])
def test_the_model_is_loaded_by_transformers(make_config: MakeConfig, model_folder: Path, adapter: Any) -> None:
    config = make_config(
        objective=[{"sft": {"on": "chosen"}}], model={"adapter": adapter} if adapter else {}, train={"steps": 20}
    )
    result = train(config)
    model = AutoModelForCausalLM.from_pretrained(result.model_path)
    tokenizer = AutoTokenizer.from_pretrained(result.model_path)
    assert tokenizer.chat_template
    ids = tokenizer(PAIRS[0]["prompt"] + PAIRS[0]["chosen"], return_tensors="pt").input_ids
    before = AutoModelForCausalLM.from_pretrained(model_folder)
    with torch.no_grad():
        assert model(ids, labels=ids).loss < before(ids, labels=ids).loss - 0.1
    assert "burnish" not in (result.model_path / ("config.json" if adapter is None else "adapter_config.json")).read_text()
    assert (result.model_path / "generation_config.json").is_file()


@pytest.mark.parametrize(("loss", "times"), [("apo_zero", 1), ("dpo", 0)])
def test_a_margin_that_no_part_reads_is_said_once(
    make_config: MakeConfig, loss: str, times: int, capsys: pytest.CaptureFixture[str]
) -> None:
    train(make_config(objective=[loss], train={"steps": 2}), data=[{**pair, "margin": 0.5} for pair in PAIRS])
    told = "".join(capsys.readouterr())
    assert told.count("rows of main have a margin, which no part of the objective reads") == times


def test_the_card_says_what_was_done_and_whom_to_cite(make_config: MakeConfig) -> None:
    card = (train(make_config(**EVALUATED)).model_path / "README.md").read_text()
    assert "arXiv:2305.18290" in card
    for word in ("main: 24 rows (preference)", "beta: 0.1", "plugin dpo", "torch", "eval/loss", "library_name: transformers"):
        assert word in card
    assert "plugin kto" not in card, "installed, and had no part in the run"


def test_a_live_model_comes_with_its_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a model was given without its tokenizer; give `tokenizer` too, or"):
        train({"objective": ["sft"], "output": str(tmp_path / "run")}, model=tiny_model("llama"), data=TEXTS)


def test_live_objects_take_the_place_of_names(tmp_path: Path) -> None:
    model = tiny_model("llama")
    seen: list[Any] = []

    class Watcher:
        def run_started(self, run: Any) -> None:
            seen.append("started")

        def step_finished(self, run: Any, step: Any) -> str | None:
            seen.append(step.step)
            return {1: "evaluate", 2: "save", 3: "stop"}.get(step.step)

        def run_finished(self, run: Any) -> None:
            seen.append(run.model is model)

    def short(completions: list[str], **columns: Any) -> list[float]:
        return [-float(len(text)) for text in completions]

    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    result = train(
        {
            "data": {"main": {"holdout": 0.2}},
            "objective": ["sft"],
            "train": {"batch_size": 4},
            "evaluate": {"sampling": {"max_new_tokens": 3}},
            "output": str(tmp_path / "run"),
        },
        model=model,
        tokenizer=tiny_tokenizer(),
        data=TEXTS,
        rewards=[short],
        observers=[Watcher()],
    )
    assert seen == ["started", 1, 2, 3, True]
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000002"]
    evaluated = [line["step"] for line in ledger(tmp_path / "run") if "eval/loss" in line]
    assert evaluated == [1, 3]
    assert result.evaluation["eval/rewards/short/mean"] <= 0
    assert any(not torch.equal(before[name], parameter) for name, parameter in model.named_parameters())


def test_rows_need_no_data_section(tmp_path: Path) -> None:
    config = {"objective": ["sft"], "train": {"batch_size": 4, "steps": 1}, "output": str(tmp_path / "run")}
    assert train(config, tiny_model("llama"), tiny_tokenizer(), TEXTS).metrics["step"] == 1
    assert "source: given rows  # given" in re.sub(" +#", "  #", (tmp_path / "run" / "run.yaml").read_text())


def test_a_name_or_file_stands_for_a_model_or_rows(make_config: MakeConfig, model_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in TEXTS))
    config = {"objective": ["sft"], "train": {"batch_size": 4, "steps": 1}, "output": str(tmp_path / "run")}
    assert train(config, str(model_folder), data=file).metrics["step"] == 1


def test_rows_may_be_drawn_from_an_iterator_as_a_stream(tmp_path: Path) -> None:
    config = {"objective": ["sft"], "data": {"main": {"streaming": True}}, "train": {"batch_size": 4, "steps": 1}}
    result = train({**config, "output": str(tmp_path / "run")}, tiny_model("llama"), tiny_tokenizer(), iter(TEXTS))
    assert result.metrics["step"] == 1


def test_early_stopping_keeps_the_best(
    make_config: MakeConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # Learning rate 1 wrecks the model, so the first evaluation in training is better than later ones.
    config = make_config(
        data={"main": {"holdout": 0.25}},
        objective=[{"sft": {"on": "chosen"}}],
        evaluate={"every": 1, "patience": 2, "at_start": True},
        train={"steps": 50},
        optimizer={"lr": 1.0},
        schedule={"name": "constant"},
        checkpoint={"best": True},
    )
    result = train(config)
    losses = [line["eval/loss"] for line in ledger(tmp_path / "run") if "eval/loss" in line]
    best = losses.index(min(losses))
    assert len(losses) - 1 == best + 2 < 50
    assert f"ended after step {best + 2} of 50: eval/loss was no better in the last 2 evaluations" in capfd.readouterr().err
    assert result.evaluation["eval/loss"] == min(losses)
    kept = {int(path.name[-6:]) for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert best in kept


class SmallScale:
    """Gradients of the tiny model, large as its weights are, overflow at the usual first scale."""

    def run_started(self, run: Any) -> None:
        if run.accelerator.scaler is not None:
            run.accelerator.scaler._init_scale = 2.0**8


@pytest.mark.parametrize("precision", ["bf16", "pure_bf16", "fp16"])
def test_precisions_agree_roughly(make_config: MakeConfig, tmp_path: Path, precision: str) -> None:
    objective = [{"sft": {"on": "chosen"}}]
    exact = train(make_config(objective=objective, output=str(tmp_path / "exact")))
    rough = train(make_config(objective=objective, train={"precision": precision}), observers=[SmallScale()])
    assert rough.metrics["loss"] == pytest.approx(exact.metrics["loss"], rel=0.05)
    assert rough.metrics["loss"] != exact.metrics["loss"]
    dtype = torch.bfloat16 if precision == "pure_bf16" else torch.float32
    assert {tensor.dtype for tensor in weights(rough.path).values()} == {dtype}


def test_fp16_overflow_lowers_the_scale_and_is_no_fault(make_config: MakeConfig, tmp_path: Path) -> None:
    objective = [{"sft": {"on": "chosen"}}]
    train(make_config(objective=objective, train={"precision": "fp16", "steps": 20}, guard={"max_skipped": 2}))
    skipped = [line.get("skipped", 0) for line in ledger(tmp_path / "run")]
    assert skipped[0] == 1
    assert skipped[-1] == 0


@pytest.mark.parametrize("adapter", [None, LORA])
def test_gradient_checkpointing_changes_nothing(make_config: MakeConfig, tmp_path: Path, adapter: Any) -> None:
    class Calls:
        def __init__(self) -> None:
            self.count = 0

        def run_started(self, run: Any) -> None:
            base_of(run.model).model.layers[0].mlp.register_forward_pre_hook(self.add)

        def add(self, *_: Any) -> None:
            self.count += 1

    model, once, twice = {"adapter": adapter} if adapter else {}, Calls(), Calls()
    plain = train(make_config(model=model, output=str(tmp_path / "plain")), observers=[once])
    checkpointed = train(make_config(model=model, train={"gradient_checkpointing": True}), observers=[twice])
    assert twice.count > once.count  # a layer runs again in the backward pass
    for name, tensor in weights(plain.path).items():
        torch.testing.assert_close(weights(checkpointed.path)[name], tensor, rtol=1e-5, atol=1e-6)


def test_an_adapter_is_continued(make_config: MakeConfig, tmp_path: Path) -> None:
    first = train(make_config(model={"adapter": LORA}, output=str(tmp_path / "first")))
    again = train(make_config(model={"adapter": {"path": str(first.model_path)}}, optimizer={"lr": 0.0}))
    assert_same(weights(first.path), weights(again.path))


def test_the_reference_of_a_continued_adapter_is_the_model_that_it_made(make_config: MakeConfig, tmp_path: Path) -> None:
    sft = make_config(objective=[{"sft": {"on": "chosen"}}], model={"adapter": LORA}, output=str(tmp_path / "first"))
    first = train(sft, overrides=["optimizer.lr=0.1"])
    again = train(make_config(objective=["dpo"], model={"adapter": {"path": str(first.model_path)}}))
    log = [json.loads(line) for line in (again.path / "metrics.jsonl").read_text().splitlines()]
    assert log[0]["loss"] == pytest.approx(math.log(2), rel=1e-5)  # policy == reference


def test_trackers_write(make_config: MakeConfig, tmp_path: Path) -> None:
    train(make_config(track="tensorboard"))
    assert list((tmp_path / "run").rglob("events.out.tfevents.*"))


def test_a_non_finite_loss_names_part_and_row_and_ends_the_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = [{**row, "weight": 1e300 if index == 5 else 1.0} for index, row in enumerate(TEXTS)]  # infinite in float32
    config = {"objective": ["sft"], "train": {"batch_size": 20, "epochs": 9.0}, "output": str(tmp_path / "run")}
    before, model = tiny_model("llama"), tiny_model("llama")
    with pytest.raises(RunError, match=r"step 3: the loss part 'sft' \(inf\) is not finite; made by main row 5.*the run stops"):
        train(config, model, tiny_tokenizer(), rows)
    assert capfd.readouterr().err.count("The update is skipped") == 2
    for expected, got in zip(before.parameters(), model.parameters(), strict=True):
        assert torch.equal(expected, got)
    assert [line["skipped"] for line in ledger(tmp_path / "run")] == [1, 1]


def test_a_non_finite_gradient_is_blamed_on_the_row_that_made_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    # The square root of a sum that is zero: its value is finite, its gradient is not.
    (tmp_path / "root.py").write_text(ROOT_OF_ZERO)
    rows = [{**row, "weight": 2.0 if index == 5 else 1.0} for index, row in enumerate(TEXTS)]
    config = {
        "objective": [{f"{tmp_path}/root.py:Root": {"reduction": "sequence_mean"}}],
        "train": {"batch_size": 20, "steps": 1},
        "output": str(tmp_path / "run"),
    }
    train(config, tiny_model("llama"), tiny_tokenizer(), rows)
    assert "the gradient (nan) is not finite; made by main row 5. The update is skipped" in capfd.readouterr().err


ROOT_OF_ZERO = """
from dataclasses import dataclass

from burnish import Sequences, Terms, logp


@dataclass(frozen=True, kw_only=True)
class Root:
    def signals(self):
        return frozenset({logp()})

    def __call__(self, batch: Sequences) -> Terms:
        weight = batch.scalar("weight", 1.0)
        return Terms(sequence=(batch.logp.sum() * (2.0 - weight)).abs().sqrt())
"""


def test_a_full_disk_ends_the_run_with_the_last_checkpoint_whole(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(checkpoint={"every": 2})
    write: Any = vars(checkpoint_module)["save_file"]
    calls: list[Any] = []

    def run_out(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(*arguments)

    monkeypatch.setattr(checkpoint_module, "save_file", run_out)
    with pytest.raises(RunError, match=r"step-000004.*No space left on device"):
        train(config)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000002"]
    train(config, resume=True)
    train(make_config(output=str(tmp_path / "whole")))
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "run"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evaluate": {"every": 2}}, "nothing to evaluate on"),
        ({"data": {"main": {"streaming": True}}, "train": {"steps": None}}, "train.steps: a stream has no known length"),
        ({"reference": {"model": "none"}}, "reference.model"),
        ({"optimizer": {"name": "adamv"}}, "no optimizer named 'adamv'"),
        ({"schedule": {"name": "cosin"}}, "Did you mean 'cosine'"),
        ({"objective": [{"sft": {}}]}, "say which with `on`"),
        ({**EVALUATED, "evaluate": {"at_start": True, "metric": "eval/los"}}, "Did you mean 'eval/loss'"),
    ],
)
def test_what_cannot_work_is_refused(make_config: MakeConfig, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train(make_config(**changes))
    assert not (tmp_path / "run" / "model").exists()


def test_a_tracker_without_its_package_is_refused(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("burnish.engine.tracking.get_available_trackers", list)
    with pytest.raises(ConfigError, match="pip install mlflow"):
        train(make_config(track=["mlflow"]))


def test_an_existing_output_is_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("mine")
    with pytest.raises(BurnishError, match="not empty"):
        train(make_config())
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["precious.txt"]


def test_a_mistake_leaves_the_output_free(make_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        train(make_config(optimizer={"name": "adamv"}))
    train(make_config())

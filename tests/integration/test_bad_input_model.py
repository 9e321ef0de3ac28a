"""Models that cannot be had, and configs that cannot work: refused before any weights are read, in words."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
from desk import PAIRS, TEXTS, Desk


@pytest.fixture(autouse=True)
def rows(desk: Desk) -> None:
    desk.rows(TEXTS)


def test_a_missing_model(desk: Desk) -> None:
    desk.config(model={"name": str(desk.model.with_name("tinny"))})
    assert desk.refused() == f"no model at '{desk.model.with_name('tinny')}': there is no such folder. Did you mean 'tiny'?"


def test_a_model_of_the_hub_without_a_network(desk: Desk) -> None:
    desk.config(model={"name": "smollm2-135m-instrukt"})
    message = desk.refused()
    assert message.startswith("no model named 'smollm2-135m-instrukt'. Tried, for its tokenizer: a folder of that name")
    assert "the models of installed plugins (Did you mean 'smollm2-135m-instruct'? Known: smollm2-135m-instruct)" in message
    assert "the Hugging Face hub (" in message
    assert "HF_HUB_OFFLINE is set, so only its cache on this machine was searched" in message


def test_a_folder_that_is_no_model(desk: Desk) -> None:
    (desk.folder / "notes").mkdir()
    desk.write("notes/todo.txt", "train")
    desk.config(model={"name": "./notes"})
    message = desk.refused()
    assert message.startswith(f"the folder '{desk.folder}/notes' holds no tokenizer that can be loaded. It holds todo.txt.")
    assert len(message.splitlines()) == 1


def test_damaged_weights(desk: Desk) -> None:
    broken = shutil.copytree(desk.model, desk.folder / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    desk.config(model={"name": str(broken)})
    message = desk.refused(weights=True)
    assert message.startswith(f"the weights in '{broken}' are damaged or cut short (")


@pytest.mark.parametrize(
    ("objective", "changes", "said"),
    [
        (["dpo"], {"reference": {"model": "/gone/model"}}, "no model at '/gone/model': there is no such folder."),
        (["sft"], {"model": {"adapter": {"path": "/gone/lora"}}}, "no adapter at '/gone/lora'"),
        (["sft"], {"model": {"adapter": {"lora": {"targets": ["q_prj"]}}}}, "{'q_prj'} not found in the base model"),
        (["sft"], {"optimizer": {"name": "adamww"}}, "no optimizer named 'adamww'. Did you mean 'adamw'?"),
        (["sft"], {"optimizer": {"options": {"momentum": 1}}}, "got an unexpected keyword argument 'momentum'"),
        (["sft"], {"optimizer": {"options": {"betas": [0.9]}}}, "optimizer 'adamw' with options {'betas': [0.9]}: list index"),
        (["sft"], {"schedule": {"name": "cosin"}}, "no schedule named 'cosin'. Did you mean 'cosine'?"),
        (["sft"], {"evaluate": {"every": 2}}, "there is nothing to evaluate on; give a source a `holdout`"),
    ],
)
def test_what_is_read_after_the_config(desk: Desk, objective: list[Any], changes: dict[str, Any], said: str) -> None:
    desk.rows(PAIRS if objective == ["dpo"] else TEXTS)
    desk.config(objective, **changes)
    assert said in desk.refused()


@pytest.mark.parametrize(
    "changes", [{"reference": {"model": "RUN"}}, {"model": {"name": "RUN"}}, {"model": {"adapter": {"path": "RUN"}}}]
)
def test_a_run_where_its_model_is_meant(desk: Desk, changes: dict[str, Any]) -> None:
    folder = desk.folder / "earlier"
    (folder / "model").mkdir(parents=True)
    (folder / "run.yaml").write_text("{}")
    desk.rows(PAIRS)
    desk.config(["dpo"], **json.loads(json.dumps(changes).replace("RUN", str(folder))))
    message = desk.refused()
    assert "there is no such folder" not in message
    assert message.endswith(f"It is a run: the model that it trained is {folder}/model")


def test_an_unknown_metric_is_refused_before_training(desk: Desk) -> None:
    desk.config(data={"main": {"holdout": 0.3}}, evaluate={"metric": "eval/los"}, checkpoint={"best": True})
    message = desk.refused(weights=True)
    place = desk.place("metric:")
    assert message.startswith(f"{place}: evaluate.metric: no evaluation gives 'eval/los'. Did you mean 'eval/loss'?")


def test_a_misspelt_key(desk: Desk) -> None:
    desk.config(train={"batchsize": 4})
    assert desk.refused() == (
        f"{desk.place('batchsize')}: train.batchsize: unknown key. Did you mean 'batch_size'? Known: batch_size, clip, epochs, "
        "gradient_checkpointing, micro_batch_tokens, offload_activations, precision, seed, steps."
    )


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.batch_size=four", "override: train.batch_size: should be a valid integer, found 'four'"),
        ("train.batchsize=4", "override: train.batchsize: unknown key. Did you mean 'batch_size'?"),
        ("train.batch_size", "override 'train.batch_size': write key.path=value, such as train.batch_size=8"),
        ("objective=[dpp]", "override: objective.0: no loss named 'dpp'. Did you mean 'dpo'?"),
        ("objective=[{dpo: {betta: 1}}]", "override: objective.0.dpo.betta: unknown key. Did you mean 'beta'?"),
        ("objective=[{dpo: {beta: x}}]", "override: objective.0.dpo.beta: should be a valid number, found 'x'"),
        ("objective=[{sft: {source: maim}}]", "objective.0.sft: no data source is named 'maim'. Did you mean 'main'?"),
        ("track=[wandbb]", "override: track.0: should be 'tensorboard', 'wandb', 'trackio' or 'mlflow', found 'wandbb'"),
        ("plugins.disable=[sfft]", "cannot disable plugin 'sfft': it is not installed. Did you mean 'sft'?"),
        ("plugins.disable=[sft]", ": objective.0: no loss named 'sft'. Did you mean 'dft'?"),
    ],
)
def test_overrides_that_cannot_be(desk: Desk, override: str, said: str) -> None:
    desk.config()
    assert said in desk.refused("train", desk.file, override)


def test_a_disabled_plugin_is_named_where_its_loss_is_missed(desk: Desk) -> None:
    desk.config()
    assert desk.refused("--no-plugin", "sft", "train", desk.file).endswith("Disabled: sft.")


def test_a_loss_that_compares_with_nothing(desk: Desk) -> None:
    desk.rows(PAIRS)
    desk.config(["dpo"], reference={"model": "none"})
    assert desk.refused() == (
        f"{desk.place('dpo')}: objective.0: dpo compares with a reference, but {desk.place('model: none')} says "
        "`reference.model: none`. Drop that line (the model before training is then the reference), or choose a loss "
        "without one"
    )


def test_a_config_that_is_no_yaml(desk: Desk) -> None:
    desk.write("run.yaml", "model: {name: tiny\n")
    assert desk.refused().startswith(f"{desk.file}:2: not YAML: ")
    assert desk.refused("train", "nofile.yaml") == f"there is no config file nofile.yaml. {desk.folder} holds run.yaml."


def test_a_tokenizer_that_is_cut_short(desk: Desk) -> None:
    broken = shutil.copytree(desk.model, desk.folder / "broken")
    (broken / "tokenizer.json").write_text(json.dumps({"version": "1.0"})[:-3])
    desk.config(model={"name": str(broken)})
    assert desk.refused().startswith(f"the folder '{broken}' holds no tokenizer that can be loaded. It holds chat_template")

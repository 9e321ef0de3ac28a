"""Loading: every way a model can be named, every adapter, and clear words for what cannot be had."""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pluggy
import pytest
import torch
from peft import PromptTuningConfig, get_peft_model

from burnish.batch.layout import lay_out
from burnish.config.sections import ModelSection
from burnish.data.units import Sequence
from burnish.errors import ModelError, PluginError
from burnish.model import loading
from burnish.model.adapters import add_lora, has_adapter
from burnish.model.check import check_layout
from burnish.model.dropout import dropouts
from burnish.model.hub import is_reachable
from burnish.model.loading import load_frozen, load_policy, load_shapes, load_tokenizer
from burnish.model.scorer import Scorer
from burnish.model.signals import logp
from burnish.model.sites import sites_for
from burnish.registry import load as load_registry
from burnish.registry.discovery import PluginInfo
from burnish.registry.lookup import Registry
from burnish.registry.records import ModelRecord
from burnish.testing.tiny import tiny_model, tiny_tokenizer

EMPTY = Registry([], pluggy.PluginManager("burnish").hook)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model with its tokenizer."""
    path = tmp_path_factory.mktemp("model")
    tiny_model("llama_untied").save_pretrained(path)
    tiny_tokenizer(chat=False).save_pretrained(path)
    return path


def section(name: Path | str, **values: Any) -> ModelSection:
    return ModelSection(name=str(name), **values)


def test_a_folder(folder: Path) -> None:
    model = load_policy(section(folder), EMPTY)
    expected = tiny_model("llama_untied").state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert load_policy(section(folder, dtype="bfloat16"), EMPTY).get_input_embeddings().weight.dtype == torch.bfloat16  # type: ignore[operator]


@dataclass(frozen=True)
class LittleModel:
    """What a model plugin's target gives."""

    folder: Path

    def weights(self) -> Path:
        return self.folder

    def tokenizer(self) -> Path:
        raise AssertionError("weights were asked for")


def test_a_model_of_a_plugin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = ModelRecord(name="little", target="plugin:folder", summary="A little model.", api=1)
    plugin = PluginInfo(name="p", distribution="burnish-p", version="1", module="plugin", records=(record,))
    registry = Registry([plugin], pluggy.PluginManager("burnish").hook)
    monkeypatch.setattr(Registry, "resolve", lambda self, found: {record: lambda: LittleModel(folder)}[found])
    assert load_policy(section("little"), registry).config.model_type == "llama"  # type: ignore[union-attr]
    with pytest.raises(ModelError, match=r"Did you mean 'little'"):
        load_policy(section("litle"), registry)


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "something").mkdir()
    with pytest.raises(ModelError, match=r"no model at '.*nothing': there is no such folder\. Did you mean 'something'\?"):
        load_policy(section(tmp_path / "nothing"), EMPTY)
    with pytest.raises(ModelError, match=r"no model at '\./nothing': there is no such folder"):
        load_tokenizer(section("./nothing"), EMPTY)
    with pytest.raises(ModelError, match=r"no model named 'someone/something'\. Tried: a folder.*plugins.*hub"):
        load_policy(section("someone/something"), EMPTY)
    with pytest.raises(ModelError, match=r"no model named 'someone/something'\. Tried, for its tokenizer: a folder"):
        load_tokenizer(section("someone/something"), EMPTY)
    with pytest.raises(ModelError, match="holds no model that can be loaded"):
        load_policy(section(tmp_path), EMPTY)
    with pytest.raises(ModelError, match=r"set `model\.name`"):
        load_policy(ModelSection(), EMPTY)


def test_an_adapter_is_no_model(tmp_path: Path) -> None:
    add_lora(tiny_model("llama"), r=2).save_pretrained(tmp_path)
    for load in (load_tokenizer, load_policy):
        with pytest.raises(ModelError, match=r"holds an adapter, not a model.*`model.adapter`: \{path: "):
            load(section(tmp_path), load_registry())


def test_pickles_are_not_read(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    torch.save(tiny_model("llama_untied").state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled"):
        load_policy(section(tmp_path), EMPTY)


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_a_config_does_not_choose_what_is_fetched_and_run(folder: Path, tmp_path: Path, key: str) -> None:
    """Nor, in words, a package that is not here."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, key: "kernels-community/flash-attn2"}))
    with pytest.raises(ModelError, match=r"from the hub \('kernels-community/flash-attn2'\)"):
        load_policy(section(tmp_path), EMPTY)
    (tmp_path / "config.json").write_text(json.dumps({**config, key: "flash_attention_2"}))
    if importlib.util.find_spec("flash_attn") is None:
        with pytest.raises(ModelError, match="FlashAttention2"):
            load_policy(section(tmp_path), EMPTY)


def test_damaged_weights_are_said(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[:4000])
    with pytest.raises(ModelError, match=r"the weights in '.*' are damaged or cut short"):
        load_policy(section(tmp_path), EMPTY)


def test_without_a_network_only_the_cache_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_host(*_: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_host)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("burnish.model.hub.getproxies", dict)
    is_reachable.cache_clear()
    try:
        with pytest.raises(ModelError, match=r"hub \(.*; https://\S+ cannot be found from here, so only its cache"):
            load_policy(section("someone/something"), EMPTY)
    finally:
        is_reachable.cache_clear()


def test_dropout_is_switched_off_and_the_config_keeps_it(tmp_path: Path) -> None:
    tiny_model("gpt2", attn_pdrop=0.1, resid_pdrop=0.2).save_pretrained(tmp_path)
    model = load_policy(section(tmp_path), EMPTY)
    assert list(dropouts(model)) == []
    assert model.config.resid_pdrop == 0.2  # type: ignore[union-attr]
    places = list(dropouts(tiny_model("gpt2", attn_pdrop=0.1, resid_pdrop=0.2)))
    assert {place.in_attention for place in places if place.probability == 0.1} == {True}
    assert {place.in_attention for place in places if place.probability == 0.2} == {False}
    assert [place.name for place in dropouts(tiny_model("llama", attention_dropout=0.1))] == [
        f"model.layers.{layer}.self_attn.attention_dropout" for layer in range(2)
    ]


def test_a_template_brings_tokens_and_the_embeddings_grow(folder: Path) -> None:
    with_template = section(folder, chat_template="llama3")
    tokenizer = load_tokenizer(with_template, EMPTY)
    model: Any = load_policy(with_template, EMPTY, tokenizer)
    rows, old = model.get_input_embeddings().weight, tiny_model("llama_untied").get_input_embeddings().weight
    assert len(rows) == len(tokenizer) == len(old) + 3
    torch.testing.assert_close(rows[-1], old.mean(0))
    assert model.get_output_embeddings().weight.shape == rows.shape
    assert load_frozen(str(folder), with_template, EMPTY, tokenizer).get_input_embeddings().weight.shape == rows.shape  # type: ignore[operator]


def test_a_classifier_knows_its_padding(folder: Path) -> None:
    model: Any = load_policy(section(folder, head="sequence"), EMPTY, load_tokenizer(section(folder), EMPTY))
    assert model.score.weight.shape == (1, 16)
    assert model.config.pad_token_id is not None


def test_a_fresh_adapter_then_continued_then_two(folder: Path, tmp_path: Path) -> None:
    fresh: Any = load_policy(section(folder, adapter={"lora": {"r": 2, "targets": ["q_proj"]}}), EMPTY)
    trained = {name for name, parameter in fresh.named_parameters() if parameter.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    with torch.no_grad():
        for name, parameter in fresh.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.5)
    fresh.save_pretrained(tmp_path)

    continued: Any = load_policy(section(folder, adapter={"path": str(tmp_path)}), EMPTY)
    assert {name for name, parameter in continued.named_parameters() if parameter.requires_grad} == trained
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in continued.state_dict().items())

    old = {"name": "old", "path": str(tmp_path), "trainable": False}
    new = {"name": "new", "lora": {"r": 2, "targets": ["v_proj"]}}
    two: Any = load_policy(section(folder, adapter=[old, new]), EMPTY)
    assert set(two.peft_config) == {"old", "new"}
    assert two.active_adapter == "new"
    trained = {name for name, parameter in two.named_parameters() if parameter.requires_grad}
    assert trained
    assert all(name.endswith(".new.weight") for name in trained)


def test_adapters_that_cannot_be(folder: Path, tmp_path: Path) -> None:
    prompt = get_peft_model(
        tiny_model("llama_untied"), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2, num_attention_heads=4)
    )
    prompt.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="PROMPT_TUNING; burnish trains LoRA"):
        load_policy(section(folder, adapter={"path": str(tmp_path)}), EMPTY)
    with pytest.raises(ModelError, match="no adapter at"):
        load_policy(section(folder, adapter={"path": str(tmp_path / "nothing")}), EMPTY)
    with pytest.raises(ModelError, match=r"cannot be put on LlamaForCausalLM.*no_such_layer"):
        load_policy(section(folder, adapter={"lora": {"targets": ["no_such_layer"]}}), EMPTY)


def test_quantising_without_bitsandbytes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install 'burnish\[quantize\]'"):
        load_policy(section(folder, quantize="4bit", adapter={"lora": {}}), EMPTY)


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_few_bits_train_an_adapter(tmp_path: Path, bits: str) -> None:
    tiny_model("llama", hidden_size=64, intermediate_size=64, head_dim=16).save_pretrained(tmp_path)
    model = load_policy(section(tmp_path, quantize=bits, adapter={"lora": {"r": 2}}), EMPTY)
    assert has_adapter(model)
    assert check_layout(model).kind == "tree"
    layout = lay_out([Sequence(np.array([1, 2, 3, ending]), {}) for ending in (4, 5)], "tree")
    sites = sites_for(layout, [np.arange(4) > 0] * 2)
    torch.autograd.backward(Scorer(model)(layout, sites, (logp(),))[0].sum())
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)


def test_shapes_are_the_models_without_its_weights(folder: Path, tmp_path: Path) -> None:
    lora = {"lora": {"r": 2}}
    add_lora(tiny_model("llama_untied"), r=3).save_pretrained(tmp_path / "adapter")
    for adapters in ([], [lora], [{"path": str(tmp_path / "adapter")}, {"name": "b", "lora": {"r": 2}}]):
        described = section(folder, adapter=adapters)
        weightless = tmp_path / "weightless"
        shutil.copytree(folder, weightless, ignore=shutil.ignore_patterns("*.safetensors"), dirs_exist_ok=True)
        tokenizer = tiny_tokenizer()
        tokenizer.add_tokens(["<new>"])
        expected = load_policy(described, EMPTY, tokenizer).named_parameters()
        shapes = load_shapes(section(weightless, adapter=adapters), EMPTY, tokenizer).named_parameters()
        found = [(name, tuple(one.shape), one.dtype, one.requires_grad, one.device.type) for name, one in shapes]
        assert found == [(name, tuple(one.shape), one.dtype, one.requires_grad, "meta") for name, one in expected]


def test_a_model_that_a_config_names_by_its_code(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    members = ("def weights(self): return '/the/model'", "def tokenizer(self): return '/the/tokenizer'")
    file.write_text("\n    ".join(["class Mine:", *members]))
    registry = load_registry(run_code=True)
    assert loading.find_model(f"{file}:Mine", registry) == "/the/model"
    assert loading.find_model(f"{file}:Mine", registry, weights=False) == "/the/tokenizer"
    with pytest.raises(PluginError, match="only `burnish train`"):
        loading.find_model(f"{file}:Mine", load_registry())

"""What leaves for somebody else's model: merged as PEFT merges, alone as PEFT saves, and refused where neither can be."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peft import get_peft_model_state_dict
from torch import nn

from burnish.errors import ModelError
from burnish.model.adapters import add_lora
from burnish.model.outgoing import lone_adapter, merged, outgoing
from burnish.testing import tiny_model


def adapted(family: str = "llama", **lora: Any) -> nn.Module:
    """With an adapter that has learnt something."""
    model = add_lora(tiny_model(family), **{"r": 3, "alpha": 5, **lora})
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter += 0.2 * torch.randn_like(parameter)
                assert name
    return model


CASES = [
    pytest.param("llama", {}, id="linear"),
    pytest.param("gpt2", {}, id="transposed"),
    pytest.param("llama_untied", {"targets": ["q_proj", "embed_tokens"]}, id="embeddings"),
    pytest.param("llama_untied", {"targets": ["q_proj"], "modules_to_save": ["lm_head"]}, id="whole modules"),
]


@pytest.mark.parametrize(("family", "lora"), CASES)
def test_merged_is_what_peft_merges(family: str, lora: dict[str, Any]) -> None:
    model = adapted(family, **lora)
    found = merged(model, dict(model.state_dict()))
    theirs = copy.deepcopy(model).merge_and_unload().state_dict()  # type: ignore[operator]
    assert found.keys() == theirs.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, theirs[name], msg=name)


def test_nothing_of_the_model_changes() -> None:
    model = adapted()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    outgoing(model, dict(model.state_dict()), dtype="bfloat16")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_an_adapter_alone_has_the_names_that_peft_saves() -> None:
    model = adapted()
    found = outgoing(model, dict(model.state_dict()), adapters=True)
    saved = get_peft_model_state_dict(model)
    assert found.weights.keys() == saved.keys()
    assert all(torch.equal(found.weights[name], saved[name]) for name in saved)
    assert found.adapter is not None
    assert (found.adapter["r"], found.adapter["peft_type"]) == (3, "LORA")


ALONE = [
    pytest.param({}, "default", id="plain"),
    pytest.param({"targets": ["embed_tokens"]}, None, id="embeddings"),
    pytest.param({"targets": ["q_proj"], "modules_to_save": ["lm_head"]}, None, id="whole modules"),
]


@pytest.mark.parametrize(("lora", "name"), ALONE)
def test_which_adapters_can_go_alone(lora: dict[str, Any], name: str | None) -> None:
    model = adapted("llama_untied", **lora)
    assert lone_adapter(model) == name
    assert (outgoing(model, dict(model.state_dict()), adapters=True).adapter is None) == (name is None)


def test_a_model_without_adapter_goes_as_it_is() -> None:
    model = tiny_model()
    found = outgoing(model, dict(model.state_dict()), adapters=True, dtype="bfloat16")
    assert found.adapter is None
    assert {tensor.dtype for tensor in found.weights.values()} == {torch.bfloat16}
    assert all(torch.equal(found.weights[name], tensor.to(torch.bfloat16)) for name, tensor in model.state_dict().items())


def test_what_cannot_be_merged() -> None:
    model = adapted()
    for module in model.modules():
        if hasattr(module, "lora_magnitude_vector"):
            module.lora_magnitude_vector["default"] = nn.Identity()  # as DoRA has
    with pytest.raises(ModelError, match="more than plain LoRA"):
        merged(model, dict(model.state_dict()))
    state = adapted().state_dict()
    quantised = {name: tensor.to(torch.int8) if "base_layer" in name else tensor for name, tensor in state.items()}
    with pytest.raises(ModelError, match="is quantised, so nothing can be merged into it"):
        merged(adapted(), quantised)

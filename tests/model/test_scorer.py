"""The Scorer: what it forwards, what it refuses, and that adapters come free."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from burnish.batch.attention import NAME, attention_of, own_attention, tree_attention
from burnish.batch.layout import Kind, Layout, lay_out
from burnish.data.units import Sequence
from burnish.errors import ModelError
from burnish.model.adapters import add_lora
from burnish.model.scorer import Scorer, base_of
from burnish.model.signals import entropy, logp, score
from burnish.model.sites import Sites, sites_for
from burnish.testing.tiny import tiny_model


def forked() -> list[Sequence]:
    draw = np.random.default_rng(0)
    trunk, branch = draw.integers(0, 250, 6), draw.integers(0, 250, 3)
    tails = [draw.integers(0, 250, length) for length in (4, 2, 5)]
    paths = [(trunk, branch, tails[0]), (trunk, branch, tails[1]), (trunk, tails[2])]
    ids = [np.concatenate(path) for path in paths]
    return [Sequence(one, {"completion": np.arange(len(one)) >= 6}) for one in ids]


def laid_out(kind: Kind, sequences: list[Sequence] | None = None) -> tuple[Layout, Sites]:
    sequences = forked() if sequences is None else sequences
    layout = lay_out(sequences, kind)
    return layout, sites_for(layout, [sequence.masks["completion"] for sequence in sequences])


def test_a_tree_forwards_exactly_its_unique_tokens() -> None:
    model = tiny_model("llama")
    seen: list[int] = []
    model.get_input_embeddings().register_forward_hook(lambda _, arguments, output: seen.append(arguments[0].numel()))
    layout, sites = laid_out("tree")
    Scorer(model)(layout, sites, (logp(), entropy(), logp(temperature=2.0)))
    # 6 of the trunk, 3 of the branch, 4 + 2 + 5 of the tails, once for all signals.
    assert seen == [20] == [layout.num_tokens]


def test_the_head_sees_one_row_and_then_only_scored_ones() -> None:
    model = tiny_model("llama")
    seen: list[torch.Size] = []
    model.get_output_embeddings().register_forward_hook(lambda _, arguments, output: seen.append(output.shape[:-1]))
    layout, sites = laid_out("tree")
    Scorer(model)(layout, sites, (logp(), entropy()))
    assert seen == [(1, 1), (14,)]


def test_without_sites_gradients_are_zero_not_missing() -> None:
    model = tiny_model("llama_untied")
    [value] = Scorer(model)(lay_out([], "tree"), sites_for(lay_out([], "tree"), []), (logp(),))
    assert value.shape == (0,)
    torch.autograd.backward(0 * value.sum())
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in model.parameters())


def gradients(model: nn.Module, kind: Kind) -> dict[str, torch.Tensor]:
    layout, sites = laid_out(kind)
    values = Scorer(model, kind)(layout, sites, (logp(),))[0]
    model.zero_grad()
    torch.autograd.backward(torch.cat([values[torch.from_numpy(rows)] for rows in sites.rows]).sum())
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


ADAPTERS: dict[str, dict[str, Any]] = {
    "attention": {"targets": ["q_proj", "v_proj"]},
    "all linear": {},
    "head": {"targets": ["lm_head", "v_proj"]},
    "embeddings": {"targets": ["embed_tokens", "v_proj"]},
    "saved head": {"targets": ["v_proj"], "modules_to_save": ["lm_head"]},
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_adapters_train_alike_in_every_layout(name: str) -> None:
    model = add_lora(tiny_model("llama_untied"), r=2, **ADAPTERS[name]).double()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if "lora_" in parameter_name:
                parameter.normal_(std=0.05, generator=torch.Generator().manual_seed(0))
    padded, tree = gradients(model, "padded"), gradients(model, "tree")
    assert padded.keys() == tree.keys() == {n for n, p in model.named_parameters() if p.requires_grad}
    for parameter_name, gradient in padded.items():
        assert gradient.any(), parameter_name
        assert (tree[parameter_name] - gradient).norm() <= 1e-5 * gradient.norm(), parameter_name


def test_fsdp_finds_the_blocks() -> None:
    assert Scorer(tiny_model("llama"))._no_split_modules == ["LlamaDecoderLayer"]
    assert Scorer(add_lora(tiny_model("qwen3")))._no_split_modules == ["Qwen3DecoderLayer"]


def test_a_scorer_whose_model_was_taken_over_says_so() -> None:
    model = tiny_model("llama")
    tree = Scorer(model, "tree")
    Scorer(model, "padded")
    with pytest.raises(ModelError, match="make a new Scorer"):
        tree(*laid_out("tree"), (logp(),))
    with pytest.raises(ModelError, match="the layout is padded"):
        Scorer(model, "tree")(*laid_out("padded"), (logp(),))


def test_a_language_model_has_no_score() -> None:
    with pytest.raises(ModelError, match="'score' needs a classification head"):
        Scorer(tiny_model("llama"))(*laid_out("tree"), (score(),))


def test_a_score_is_what_the_classifier_says_of_its_last_token() -> None:
    model = tiny_model("llama_classifier")
    sequences = forked()
    expected = [model(torch.from_numpy(sequence.ids)[None]).logits.item() for sequence in sequences]
    layout, sites = laid_out("tree", sequences)
    values = Scorer(model)(layout, sites, (score(),))[0]
    assert [values[rows[-1]].item() for rows in sites.rows] == pytest.approx(expected, rel=1e-5)


def test_our_attention_refuses_what_it_cannot_do() -> None:
    model = tiny_model("llama")
    Scorer(model)
    with pytest.raises(ModelError, match="without `burnish_segments`"):
        model(torch.tensor([[1, 2, 3]]))
    layout, _ = laid_out("tree")
    states = torch.zeros(1, 2, layout.num_tokens, 4)
    module = nn.Module()
    for keyword in ({"dropout": 0.1}, {"s_aux": torch.zeros(2)}, {"is_causal": False}):
        with pytest.raises(ModelError, match="layout: padded"):
            tree_attention(module, states, states, states, None, burnish_segments=layout.segments, **keyword)


def test_generation_runs_on_the_models_own_attention() -> None:
    model = tiny_model("llama")
    prompt = torch.tensor([[1, 2, 3]])
    expected = model.generate(prompt, max_new_tokens=4, do_sample=False)
    Scorer(model)
    with own_attention(model):
        assert model.generate(prompt, max_new_tokens=4, do_sample=False).tolist() == expected.tolist()
    assert attention_of(base_of(model)) == NAME

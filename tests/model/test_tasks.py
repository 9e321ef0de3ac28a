"""Heads: which one an objective needs, what a saved model has, fresh ones, and the token that a classifier reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pluggy
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

from burnish.batch.layout import Kind, lay_out
from burnish.config.sections import ModelSection
from burnish.data.units import Sequence
from burnish.errors import ModelError
from burnish.model.loading import load_policy, load_shapes, load_tokenizer
from burnish.model.scorer import Scorer
from burnish.model.signals import entropy, label_logp, logp, score, value
from burnish.model.sites import sites_for
from burnish.model.tasks import task_for, task_of_model
from burnish.registry import Registry
from burnish.testing import tiny_model, tiny_tokenizer

EMPTY = Registry([], pluggy.PluginManager("burnish").hook)
LAYOUTS: tuple[Kind, ...] = ("tree", "packed", "padded")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model; its tokenizer pads with the end of sequence."""
    place = tmp_path_factory.mktemp("language")
    tiny_model("llama").save_pretrained(place)
    tiny_tokenizer(pad_is_eos=True).save_pretrained(place)
    return place


def section(folder: Path, **fields: Any) -> ModelSection:
    return ModelSection.model_validate({"name": str(folder), **fields})


def test_the_head_that_an_objective_needs() -> None:
    assert task_for([logp(), entropy(), value()]) == "language"
    assert task_for([score()]) == "sequence"
    assert task_for([label_logp(0), label_logp(1)]) == "token"
    with pytest.raises(ModelError, match="'score' from a sequence head and 'logp' from a language head"):
        task_for([score(), logp()])


def test_a_saved_model_says_what_it_is(tmp_path: Path) -> None:
    for family, task, outputs in (("llama_classifier", "sequence", 1), ("llama_steps", "token", 2)):
        tiny_model(family).save_pretrained(tmp_path / family)
        loaded: Any = load_policy(section(tmp_path / family), EMPTY)
        assert (task_of_model(loaded), loaded.num_labels) == (task, outputs)
    with pytest.raises(ModelError, match=r"a token classifier with 2 outputs, and 1 is needed here.*fresh head"):
        load_policy(section(tmp_path / "llama_steps", head="sequence"), EMPTY)


@pytest.mark.parametrize(("head", "outputs"), [("sequence", 1), ("token", 2)])
def test_a_fresh_head_follows_the_seed(folder: Path, head: str, outputs: int) -> None:
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        model: Any = load_policy(section(folder, head=head), EMPTY, load_tokenizer(section(folder), EMPTY))
        drawn.append(model.score.weight.detach())
    assert drawn[0].shape == (outputs, 16)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert model.config.id2label == {0: "LABEL_0"} if head == "sequence" else {0: "wrong", 1: "right"}


@pytest.mark.parametrize("head", ["sequence", "token"])
def test_an_adapter_trains_the_head_in_full_and_shapes_agree(folder: Path, head: str) -> None:
    described = section(folder, head=head, adapter={"lora": {"r": 2}})
    tokenizer = load_tokenizer(described, EMPTY)
    model = load_policy(described, EMPTY, tokenizer)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert any("score.modules_to_save" in name for name in trained)
    assert not any("score" in name and "lora_" in name for name in trained)
    shapes = load_shapes(described, EMPTY, tokenizer)
    assert [(name, one.shape) for name, one in shapes.named_parameters()] == [
        (name, one.shape) for name, one in model.named_parameters()
    ]


def test_a_tokenizer_without_padding_pads_with_its_end(folder: Path) -> None:
    tokenizer = load_tokenizer(section(folder), EMPTY)
    tokenizer.pad_token = None
    model: Any = load_policy(section(folder, head="sequence"), EMPTY, tokenizer)
    assert model.config.pad_token_id == tokenizer.pad_token_id == tokenizer.eos_token_id


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("pad_is_eos", [False, True])
def test_a_score_is_the_one_that_transformers_gives_alone_and_in_a_batch(
    tmp_path: Path, layout: Kind, pad_is_eos: bool
) -> None:
    """Also where padding shares the id of the end of sequence, so that transformers passes over the end."""
    tokenizer = tiny_tokenizer(chat=False, pad_is_eos=pad_is_eos)
    tokenizer.save_pretrained(tmp_path)
    tiny_model("llama", tie_word_embeddings=False).save_pretrained(tmp_path)
    described = section(tmp_path, head="sequence")
    fresh: Any = load_policy(described, EMPTY, load_tokenizer(described, EMPTY))
    fresh.save_pretrained(tmp_path / "classifier")
    theirs: Any = AutoModelForSequenceClassification.from_pretrained(tmp_path / "classifier")
    texts = ["a", "ab and more", "ab"]
    ended = [f"{text}{tokenizer.eos_token}" for text in texts]
    padded = AutoTokenizer.from_pretrained(tmp_path)(ended, padding=True, return_tensors="pt")
    with torch.no_grad():
        batched = theirs(**padded).logits[:, 0].tolist()
        single = [theirs(**tokenizer(text, return_tensors="pt")).logits.item() for text in ended]
    sequences = [end_of(tokenizer(text)["input_ids"]) for text in ended]
    laid_out = lay_out(sequences, layout)
    sites = sites_for(laid_out, [sequence.masks["end"] for sequence in sequences])
    scorer = Scorer(load_policy(section(tmp_path / "classifier"), EMPTY), layout)
    [values] = scorer(laid_out, sites, (score(),))
    ours = [values[rows].item() for rows in sites.rows]
    assert ours == pytest.approx(single, rel=1e-4)
    assert ours == pytest.approx(batched, rel=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_labels_of_tokens_are_those_of_transformers(tmp_path: Path, layout: Kind) -> None:
    tiny_model("llama_steps").save_pretrained(tmp_path)
    theirs: Any = AutoModelForTokenClassification.from_pretrained(tmp_path)
    sequences = [every_of([1, 2, 3, 258]), every_of([1, 2, 7])]  # 258 is padding: a token classifier reads it all the same
    laid_out = lay_out(sequences, layout)
    sites = sites_for(laid_out, [sequence.masks["all"] for sequence in sequences])
    wrong, right = Scorer(load_policy(section(tmp_path), EMPTY), layout)(laid_out, sites, (label_logp(0), label_logp(1)))
    for sequence, rows in zip(sequences, sites.rows, strict=True):
        with torch.no_grad():
            expected = theirs(torch.from_numpy(sequence.ids)[None]).logits[0, 1:].log_softmax(-1)
        torch.testing.assert_close(torch.stack([wrong[rows], right[rows]], -1), expected, rtol=1e-4, atol=1e-5)


def test_labels_of_a_head_without_them() -> None:
    [sequence] = [end_of([1, 2])]
    laid_out = lay_out([sequence], "tree")
    sites = sites_for(laid_out, [sequence.masks["end"]])
    with pytest.raises(ModelError, match="reads label 1 of at least two; this head has 1"):
        Scorer(tiny_model("llama_classifier"))(laid_out, sites, (label_logp(1),))


def end_of(ids: list[int]) -> Sequence:
    return Sequence(np.array(ids), {"end": np.arange(len(ids)) == len(ids) - 1})


def every_of(ids: list[int]) -> Sequence:
    return Sequence(np.array(ids), {"all": np.arange(len(ids)) > 0})

"""What a classifier thinks of examples: the numbers of transformers, by role, and what gets none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from burnish.data.examples import Example, Preference, Prompt, PromptCompletion, Ranked, Stepwise, Text
from burnish.errors import DataError, ModelError
from burnish.judging.classifier import Classifier
from burnish.registry import Registry, load
from burnish.testing import tiny_model, tiny_tokenizer

ASK = ({"role": "user", "content": "2 + 2?"},)
FOUR = ({"role": "assistant", "content": "4"},)
FIVE = ({"role": "assistant", "content": "no\nfive"},)


@pytest.fixture(scope="module")
def rewards() -> Classifier:
    return Classifier(tiny_model("llama_classifier"), tiny_tokenizer())


@pytest.fixture(scope="module")
def steps() -> Classifier:
    return Classifier(tiny_model("llama_steps"), tiny_tokenizer())


def transformers_says(family: str, text: str) -> torch.Tensor:
    ids = tiny_tokenizer()(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits: torch.Tensor = tiny_model(family)(ids).logits[0]
    return logits


def test_scores_by_role(rewards: Classifier) -> None:
    examples: list[Example] = [
        PromptCompletion("2 + 2 =", " 4"),
        Preference(ASK, FOUR, FIVE),
        Ranked("2 + 2 =", (" 4", " 5", " 6")),
        Stepwise("2 + 2 =", ("4", "so 4"), (1.0, 1.0)),
        Text("2 + 2 = 4"),
    ]
    single, pair, several, stepwise, text = (verdict.scores for verdict in rewards.judge(examples))
    expected = transformers_says("llama_classifier", "2 + 2 = 4<|im_end|>").item()
    assert single["main"] == several["item0"] == text["main"] == pytest.approx(expected, rel=1e-5)
    chat = "<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n"
    assert pair["chosen"] == pytest.approx(transformers_says("llama_classifier", chat).item(), rel=1e-5)
    assert (list(pair), list(several), list(stepwise)) == (["chosen", "rejected"], ["item0", "item1", "item2"], ["main"])


def test_probabilities_of_steps(steps: Classifier) -> None:
    examples: list[Example] = [
        Stepwise("2 + 2 =", ("4", "so 4"), (1.0, 0.0)),
        PromptCompletion("2 + 2 =", "4\n\nso 4"),
        Preference(ASK, FOUR, FIVE),
    ]
    given, taken_apart, pair = (verdict.steps for verdict in steps.judge(examples))
    expected = transformers_says("llama_steps", "2 + 2 =4\nso 4\n").softmax(-1)[[8, 13], 1]
    assert given["main"] == pytest.approx(expected.tolist(), rel=1e-4)
    assert taken_apart == given
    assert {role: len(numbers) for role, numbers in pair.items()} == {"chosen": 1, "rejected": 2}


def test_what_gets_no_score_says_why(rewards: Classifier, steps: Classifier) -> None:
    [long] = rewards.judge([PromptCompletion("a", "b" * 600)])
    assert (long.scores, long.reason) == ({}, "over_length: longer than the model's context of 512 tokens")
    [blank] = steps.judge([PromptCompletion("a", " \n")])
    assert blank.reason == "no_steps: the answer has no step"
    assert rewards.judge([]) == []
    for classifier in (rewards, steps):
        with pytest.raises(DataError, match="hold no answer"):
            classifier.judge([Prompt("a")])
    with pytest.raises(DataError, match="cannot be taken apart"):
        steps.judge([Text("a")])


def test_equal_examples_and_small_micro_batches(steps: Classifier) -> None:
    one: Example = Stepwise("2 + 2 =", ("4", "so 4"), (1.0, 0.0))
    small = Classifier(tiny_model("llama_steps"), tiny_tokenizer(), micro_batch_tokens=1)
    verdicts = small.judge([one, Stepwise("2 + 2 =", ("5",), (1.0,)), one])
    assert verdicts[0] == verdicts[2]
    assert verdicts[0].steps["main"] == pytest.approx(steps.judge([one])[0].steps["main"], rel=1e-4)


def test_a_language_model_is_refused(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="is a language model, which scores nothing"):
        Classifier.open(str(tmp_path), load())


def test_the_separator_of_the_run_is_found(tmp_path: Path) -> None:
    run: Any = tmp_path / "run"
    tiny_model("llama_steps").save_pretrained(run / "model")
    tiny_tokenizer().save_pretrained(run / "model")
    (run / "run.yaml").write_text("model: {name: x}\nrender: {step_separator: '##'}\n")
    registry: Registry = load()
    example = PromptCompletion("p", "a##b\nc")
    for where, separator, count in ((run, None, 2), (run / "model", None, 2), (run, "\n", 2), (run, "##b", 2)):
        [verdict] = Classifier.open(str(where), registry, step_separator=separator).judge([example])
        assert len(verdict.steps["main"]) == count

"""A process reward model trained, loaded by transformers, and used as a reward: in full and with LoRA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from burnish_prm.reward import ProcessReward
from peft import AutoPeftModelForTokenClassification
from transformers import AutoModelForTokenClassification, AutoTokenizer

from burnish import train
from burnish.errors import RewardError
from burnish.registry import load
from burnish.rollout.rewards import load_reward, run_rewards
from burnish.testing import tiny_model, tiny_tokenizer

ROWS = [
    {"prompt": f"{n}: ", "completions": ["good", "bad" if n % 2 else "good"], "labels": [True, n % 2 == 0]} for n in range(16)
]
SOLUTION = "good##bad##"


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("language")
    tiny_model("llama", tie_word_embeddings=False).save_pretrained(folder)
    tiny_tokenizer(chat=False).save_pretrained(folder)
    return folder


def run(language: Path, output: Path, **model: Any) -> Any:
    config = {
        "model": {"name": str(language), **model},
        "data": {"main": {"source": "rows", "holdout": 0.25}},
        "render": {"cache": False, "step_separator": "##"},
        "objective": ["prm"],
        "train": {"steps": 4, "batch_size": 8},
        "optimizer": {"lr": 2e-2},
        "evaluate": {"at_start": True},
        "output": str(output),
    }
    result = train(config, data=ROWS)
    assert result.evaluation["eval/loss"] < result.before["eval/loss"]
    assert {"eval/accuracy", "eval/first_wrong_step"} <= result.evaluation.keys()
    return result


def theirs(model: Any, folder: Path) -> list[float]:
    """Probabilities of the two steps as transformers gives them."""
    ids = AutoTokenizer.from_pretrained(folder)(f"3: {SOLUTION}", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        numbers: list[float] = model(ids).logits[0].softmax(-1)[[8, 13], 1].tolist()  # "3: good##" is 9 tokens, "bad##" 5
    return numbers


@pytest.mark.parametrize("model", [{}, {"adapter": {"lora": {"r": 2}}}], ids=["full", "lora"])
def test_trained_and_loaded(model: dict[str, Any], language: Path, tmp_path: Path) -> None:
    result = run(language, tmp_path / "run", **model)
    loads: Any = AutoPeftModelForTokenClassification if model else AutoModelForTokenClassification
    loaded = loads.from_pretrained(result.model_path)
    assert loaded.config.num_labels == 2
    first, second = theirs(loaded, result.model_path)
    [steps] = ProcessReward(str(tmp_path / "run")).steps(["3: "], [SOLUTION])
    assert steps == pytest.approx((first, second), rel=1e-4)
    for way, expected in {"product": first * second, "min": min(first, second), "last": second}.items():
        reward = load_reward("prm", load(), options={"model": str(tmp_path / "run"), "aggregate": way})
        found = run_rewards([reward], ["3: ", "3: "], [SOLUTION, " "], [[], []], {})
        assert found["prm"] == [pytest.approx(expected, rel=1e-4), None]


def test_a_model_of_whole_answers_is_refused(tmp_path: Path) -> None:
    tiny_model("llama_classifier").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(RewardError, match="the reward for it is called reward_model"):
        ProcessReward(str(tmp_path))

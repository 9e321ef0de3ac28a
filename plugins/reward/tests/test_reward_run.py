"""A reward model trained, loaded by transformers, used as a reward and by `burnish score`: in full and with LoRA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from burnish_reward.reward import RewardModel
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from burnish import train
from burnish.engine.saved import export_saved, open_saved
from burnish.errors import RewardError, RunError
from burnish.registry import load
from burnish.rollout.journal import Journal
from burnish.rollout.rewards import load_reward, run_rewards
from burnish.testing import tiny_model, tiny_tokenizer

ROWS = [{"prompt": f"{n} is ", "chosen": "yes", "rejected": "no way"} for n in range(16)]
TEXTS = ["3 is yes", "3 is no way", "3 is well"]


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model whose tokenizer pads with the end of sequence."""
    folder = tmp_path_factory.mktemp("language")
    tiny_model("llama", tie_word_embeddings=False).save_pretrained(folder)
    tiny_tokenizer(chat=False, pad_is_eos=True).save_pretrained(folder)
    return folder


def config(language: Path, output: Path, **model: Any) -> dict[str, Any]:
    return {
        "model": {"name": str(language), **model},
        "data": {"main": {"source": "rows", "holdout": 0.25}},
        "render": {"cache": False},
        "objective": [{"bradley_terry": {"center": 0.01}}],
        "train": {"steps": 4, "batch_size": 8},
        "optimizer": {"lr": 2e-2},
        "evaluate": {"at_start": True},
        "output": str(output),
    }


def theirs(model: Any, folder: Path) -> list[float]:
    """Scores of the texts as transformers computes them in one padded batch."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer([text + tokenizer.eos_token for text in TEXTS], padding=True, return_tensors="pt")
    with torch.no_grad():
        scores: list[float] = model(**batch).logits[:, 0].tolist()
    return scores


def ours(where: Path, **options: Any) -> list[float | None]:
    reward = load_reward("reward_model", load(), options={"model": str(where), **options})
    found = run_rewards([reward], [text[:5] for text in TEXTS], [text[5:] for text in TEXTS], [[]] * 3, {})
    return found["reward_model"]


def test_trained_in_full(language: Path, tmp_path: Path) -> None:
    result = train(config(language, tmp_path / "run"), data=ROWS)
    assert result.evaluation["eval/loss"] < result.before["eval/loss"]
    assert result.evaluation["eval/accuracy"] == 1.0
    loaded = AutoModelForSequenceClassification.from_pretrained(result.model_path)
    expected = theirs(loaded, result.model_path)
    for where in (tmp_path / "run", result.model_path):
        assert ours(where) == pytest.approx(expected, rel=1e-4)
    assert ours(tmp_path / "run", model=[str(tmp_path / "run")] * 2) == pytest.approx(expected, rel=1e-4)  # their mean


def test_an_adapter_keeps_its_head(language: Path, tmp_path: Path) -> None:
    result = train(config(language, tmp_path / "run", adapter={"lora": {"r": 2}}), data=ROWS)
    assert result.evaluation["eval/loss"] < result.before["eval/loss"]
    adapted = AutoPeftModelForSequenceClassification.from_pretrained(result.model_path, num_labels=1)
    adapted.config.pad_token_id = AutoTokenizer.from_pretrained(result.model_path).pad_token_id
    expected = theirs(adapted, result.model_path)
    export_saved(open_saved(str(tmp_path / "run"), load()), tmp_path / "merged", merge=True)
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    assert theirs(merged, tmp_path / "merged") == pytest.approx(expected, rel=1e-4)
    for where in (tmp_path / "run", result.model_path, tmp_path / "merged"):
        assert ours(where) == pytest.approx(expected, rel=1e-4)


def test_conversations_and_what_is_too_long(tmp_path: Path) -> None:
    tiny_model("llama_classifier").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    reward = RewardModel(str(tmp_path))
    ask, reply = [{"role": "user", "content": "hi"}], [{"role": "assistant", "content": "ho"}]
    [chat] = reward([ask], [reply])
    [text] = reward(["<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"], ["ho<|im_end|>\n"])
    assert isinstance(chat, float)
    assert isinstance(text, float)
    assert chat != text  # a text ends with the end of sequence, this template with a line break
    assert reward(["a"], ["b" * 600]) == [None]


def test_refusals(language: Path, tmp_path: Path) -> None:
    tiny_model("llama_steps").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(RewardError, match="the reward for it is called prm"):
        RewardModel(str(tmp_path))
    with pytest.raises(RewardError, match="names no model"):
        RewardModel([])
    with pytest.raises(RewardError, match="scores nothing"):
        load_reward("reward_model", load(), options={"model": str(language)})
    with pytest.raises(RunError, match="exists"):
        train(config(language, language), data=ROWS)


def test_judging_rollouts(tmp_path: Path) -> None:
    judge = tmp_path / "judge"
    tiny_model("llama_classifier").save_pretrained(judge)
    tiny_tokenizer(chat=False).save_pretrained(judge)
    settings = {
        "objective": [{"grpo": {}}],
        "rollout": {
            "prompts": 2,
            "group_size": 2,
            "rewards": [{"reward_model": {"options": {"model": str(judge)}}}],
            "sampling": {"max_new_tokens": 4},
        },
        "train": {"batch_size": 4, "steps": 1},
        "output": str(tmp_path / "run"),
    }
    tokenizer = tiny_tokenizer(chat=False)
    rows = [{"prompt": f"{n} is "} for n in range(2)]
    train(settings, model=tiny_model(), tokenizer=tokenizer, data=rows)
    model = RewardModel(str(judge))
    for one in Journal(tmp_path / "run" / "rollouts").read(0) or []:
        prompt, answer = (tokenizer.decode(one.ids[part], skip_special_tokens=True) for part in (~one.own, one.own))
        assert [one.reward] == pytest.approx(model([prompt], [answer]), rel=1e-4)

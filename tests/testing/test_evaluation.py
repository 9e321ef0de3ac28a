"""`evaluate`: what it takes, what it says, and what it leaves as it was."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from burnish.errors import BurnishError
from burnish.model.adapters import add_lora
from burnish.testing import evaluate, tiny_model, tiny_tokenizer

PAIRS = [{"prompt": "a: ", "chosen": "bc", "rejected": "d"}, {"prompt": "b: ", "chosen": "q", "rejected": "rst"}]
ANSWERS = [{"prompt": "a: ", "completion": "bc"}]
TOKENIZER = tiny_tokenizer(chat=False)
DPO = [{"dpo": {}}]
RATIO = [f"{Path(__file__).with_name('example_ratio.py')}:Ratio"]


def test_the_model_stays_as_it_was() -> None:
    model = tiny_model("llama").train()
    ids = torch.arange(5)[None]
    logits, attention = model(ids).logits, model.config._attn_implementation
    parameter = model.get_input_embeddings().weight
    parameter.grad = torch.ones_like(parameter)
    state = torch.random.get_rng_state()
    result = evaluate(DPO, PAIRS, model, TOKENIZER)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model.training
    assert model.config._attn_implementation == attention
    assert torch.equal(model(ids).logits, logits)
    assert torch.equal(parameter.grad, torch.ones_like(parameter))
    assert result.grads.keys() == dict(model.named_parameters()).keys()


def test_a_path_is_a_model(tmp_path: Path) -> None:
    model = tiny_model("qwen3")
    model.save_pretrained(tmp_path)
    reference = tiny_model("qwen3", seed=1)
    live, loaded = (evaluate(DPO, PAIRS, one, TOKENIZER, reference=reference) for one in (model, str(tmp_path)))
    assert live.loss == loaded.loss
    with pytest.raises(BurnishError, match="no such folder"):
        evaluate(DPO, PAIRS, str(tmp_path / "missing"), TOKENIZER)


def test_without_a_reference_the_policy_is_its_own() -> None:
    assert evaluate(DPO, PAIRS, tiny_model("llama"), TOKENIZER).loss == pytest.approx(math.log(2))


def test_an_adapter_is_off_in_the_reference() -> None:
    torch.manual_seed(0)
    model = add_lora(tiny_model("llama"), targets=["q_proj", "v_proj"])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=2)
    adapted = evaluate(DPO, PAIRS, model, TOKENIZER)
    explicit = evaluate(DPO, PAIRS, model, TOKENIZER, reference=tiny_model("llama"))
    assert adapted.loss == pytest.approx(explicit.loss, rel=1e-6)
    assert abs(adapted.loss - math.log(2)) > 1e-3
    assert adapted.grads
    assert all("lora" in name for name in adapted.grads)


def test_a_second_look_forwards_no_reference_token() -> None:
    model, reference = tiny_model("llama", torch.float64), tiny_model("llama", torch.float64, seed=7)
    first, second = (evaluate(DPO, PAIRS, model, TOKENIZER, reference=reference) for _ in range(2))
    assert first.forwarded_tokens["reference"] == first.forwarded_tokens["policy"] > 0
    assert second.forwarded_tokens["reference"] == second.forwards["reference"] == 0
    assert second.loss == first.loss
    with torch.no_grad():
        reference.get_input_embeddings().weight.add_(0.01)
    assert evaluate(DPO, PAIRS, model, TOKENIZER, reference=reference).forwarded_tokens["reference"] > 0


def test_what_cannot_be_a_tree_is_padded_and_says_so() -> None:
    result = evaluate([{"sft": {}}], ANSWERS, tiny_model("mamba"), TOKENIZER)
    assert result.layout == "padded"
    assert result.loss == pytest.approx(evaluate([{"sft": {}}], ANSWERS, tiny_model("mamba"), TOKENIZER, layout="padded").loss)


def test_a_role_that_data_would_have_recorded() -> None:
    """`old` is another model here; without it, the policy of this very step."""
    model, old = tiny_model("llama"), tiny_model("llama", seed=2)
    itself = evaluate(RATIO, ANSWERS, model, TOKENIZER)
    assert itself.loss == pytest.approx(1.0)
    assert any(gradient.abs().sum() > 0 for gradient in itself.grads.values())
    total = [{"sft": {"reduction": "sequence_mean"}}]
    now, then = (-evaluate(total, ANSWERS, one, TOKENIZER).loss for one in (model, old))
    other = evaluate(RATIO, ANSWERS, model, TOKENIZER, roles={"old": old})
    assert other.loss == pytest.approx(math.exp(now - then), rel=1e-4)
    with pytest.raises(BurnishError, match="Did you mean 'teacher'"):
        evaluate(RATIO, ANSWERS, model, TOKENIZER, roles={"teachr": old})


def test_trajectories_bring_their_own_numbers() -> None:
    model, ids = tiny_model("llama"), [5, 6, 7, 8]
    logps = model(torch.tensor([ids])).logits[0].log_softmax(-1)[[1, 2], [7, 8]]
    row = {"prompt_ids": ids[:2], "completion_ids": ids[2:], "old_logps": [-1.0, -2.0], "advantages": 1.0}
    assert evaluate(RATIO, [row], model, TOKENIZER).loss == pytest.approx(math.exp(logps.sum().item() + 3), rel=1e-4)


def test_an_adapted_reference_is_not_taken_for_its_base() -> None:
    """Both have the same weights below the adapter, and what frozen models said is remembered."""
    rows = [{"prompt": "2 + 2 =", "chosen": " 4", "rejected": " 5"}]
    torch.manual_seed(0)
    adapted = add_lora(tiny_model(), targets=["q_proj"])
    for name, tensor in adapted.named_parameters():
        if "lora_B" in name:
            tensor.data.fill_(0.3)
    policy, tokenizer = tiny_model(seed=1), tiny_tokenizer()
    base, adapter = (evaluate(["dpo"], rows, policy, tokenizer, reference=one).loss for one in (tiny_model(), adapted))
    merged = evaluate(["dpo"], rows, policy, tokenizer, reference=adapted.merge_and_unload()).loss
    assert adapter == pytest.approx(merged, rel=1e-4)
    assert adapter != pytest.approx(base, rel=1e-2)

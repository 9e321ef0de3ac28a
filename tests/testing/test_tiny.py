"""The tiny models and the tokenizer that other tests lean on."""

import math

import pytest
import torch

from burnish.testing.tiny import BYTES, FAMILIES, tiny_model, tiny_tokenizer


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_family_is_reproducible_and_far_from_uniform(family):
    model, again, other = tiny_model(family), tiny_model(family), tiny_model(family, seed=1)
    ids = torch.arange(10, 30)[None]
    logits = model(input_ids=ids).logits
    assert torch.equal(logits, again(input_ids=ids).logits)
    assert not torch.equal(logits, other(input_ids=ids).logits)
    if family != "llama_classifier":
        best = logits.log_softmax(-1).max(-1).values.mean().item()
        assert best > -math.log(model.config.vocab_size) + 1


def test_overrides_reach_the_config():
    model = tiny_model("mistral", dtype=torch.float64, num_hidden_layers=1)
    assert model.config.num_hidden_layers == 1
    assert model.config.sliding_window == 4
    assert model.dtype == torch.float64


def test_one_token_per_byte():
    tokenizer = tiny_tokenizer()
    ids = tokenizer("hé!").input_ids
    assert len(ids) == 4  # h, two bytes of é, !
    assert max(ids) < BYTES
    assert tokenizer.decode(ids) == "hé!"


def test_special_tokens_and_template():
    tokenizer = tiny_tokenizer(bos=True, pad_is_eos=True)
    assert tokenizer("x").input_ids[0] == tokenizer.bos_token_id
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
    text = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    plain = tiny_tokenizer(chat=False)
    assert plain.chat_template is None
    assert plain.pad_token_id != plain.eos_token_id

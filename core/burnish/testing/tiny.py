"""Tiny models of many families and a tokenizer, built in memory: what tests of losses and of the core run on.

Nothing is read from disk or from a hub. Weights are large on purpose (standard deviation .5), so that log-probabilities are far
from uniform and preference losses far from log 2; equal arguments give equal weights.
"""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerFast

from burnish.model.tasks import CLASSES, Task

BYTES = 256
IM_START, IM_END, PAD, BOS, EOS = "<|im_start|>", "<|im_end|>", "<|pad|>", "<|bos|>", "<|eos|>"
VOCABULARY = BYTES + 5

CHATML = (
    "{% if tools %}{{ '<|im_start|>system\ntools: ' + tools | tojson + '<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "max_position_embeddings": 512,
    "initializer_range": 0.5,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
_WINDOW: dict[str, Any] = {"sliding_window": 4}
_WITHOUT_DROPOUT: dict[str, Any] = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
TASKS: dict[str, Task] = {"classifier": "sequence", "steps": "token"}
"""What the end of a family's name says of its head; any other one is a language model's."""
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama_untied": ("llama", {"tie_word_embeddings": False}),
    "llama_classifier": ("llama", {"tie_word_embeddings": False, "num_labels": 1, "pad_token_id": BYTES + 2}),
    "llama_steps": (
        "llama",
        {"tie_word_embeddings": False, "num_labels": 2, "pad_token_id": BYTES + 2, "classifier_dropout": 0.0},
    ),
    "qwen3": ("qwen3", {}),
    "mistral": ("mistral", _WINDOW),
    "gemma2": (
        "gemma2",
        {**_WINDOW, "query_pre_attn_scalar": 4, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
    ),
    "gemma3": ("gemma3_text", {**_WINDOW, "query_pre_attn_scalar": 4, "layer_types": ["sliding_attention", "full_attention"]}),
    "qwen3_moe": (
        "qwen3_moe",
        {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "decoder_sparse_step": 1,
            "norm_topk_prob": True,
        },
    ),
    "gpt2": ("gpt2", _WITHOUT_DROPOUT),
    "gpt2_classifier": ("gpt2", {**_WITHOUT_DROPOUT, "num_labels": 1, "pad_token_id": BYTES + 2}),
    "phi_steps": ("phi", {"tie_word_embeddings": False, "num_labels": 2, "classifier_dropout": 0.0}),
    "mamba": ("mamba", {"state_size": 4}),
    "bloom": ("bloom", {"hidden_dropout": 0.0, "attention_dropout": 0.0}),
}


def tiny_model(family: str = "llama", dtype: torch.dtype = torch.float32, seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """A two-layer model of `family` (a key of `FAMILIES`) with random weights; `overrides` go to its transformers config.

    The global random state is left as it was. A `..._classifier` scores sequences with one label, `..._steps` tokens with two.
    """
    model_type, settings = FAMILIES[family]
    config = AutoConfig.for_model(model_type, **{**_SHAPE, **settings, **overrides})
    auto = CLASSES[TASKS.get(family.rpartition("_")[2], "language")]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = auto.from_config(config)
    model.to(dtype=dtype)
    return model.eval()


def tiny_tokenizer(chat: bool = True, bos: bool = False, pad_is_eos: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer of bytes: ids 0-255 are bytes in the order of the sorted `ByteLevel` alphabet, then come five specials.

    chat: carries a ChatML template, and its end of sequence is `<|im_end|>`; else `<|eos|>`. bos: encoding prepends `<|bos|>`.
    pad_is_eos: padding shares the id of the end of sequence, as in many released models.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={character: index for index, character in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True) for token in (IM_START, IM_END, PAD, BOS, EOS)])
    if bos:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{BOS} $A", special_tokens=[(BOS, backend.token_to_id(BOS))]
        )
    eos = IM_END if chat else EOS
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=BOS if bos else None, eos_token=eos, pad_token=eos if pad_is_eos else PAD
    )
    if chat:
        tokenizer.chat_template = CHATML
    return tokenizer

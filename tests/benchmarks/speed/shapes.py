"""Models made for a benchmark: a shape from numbers, weights drawn at random, a tokenizer of bytes with a chat template.

In: a name and a folder. Out: the folder, as `from_pretrained` reads it. Nothing is fetched.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

# Sizes as in the configs that Qwen published with Qwen3-0.6B and Qwen3-1.7B; both tie their embeddings.
QWEN3: dict[str, Any] = {
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "rope_theta": 1e6,
    "initializer_range": 0.02,
}
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "tiny": ("llama", {"max_position_embeddings": 4096}),
    "qwen3-tiny": ("qwen3", {"max_position_embeddings": 40960, "initializer_range": 0.02}),
    "qwen3-0.6b": ("qwen3", {**QWEN3, "hidden_size": 1024, "intermediate_size": 3072}),
    "qwen3-1.7b": ("qwen3", {**QWEN3, "hidden_size": 2048, "intermediate_size": 6144}),
}


def made(name: str, folder: Path) -> Path:
    """The model `name` of `SHAPES`, saved in bfloat16, with its tokenizer."""
    from burnish.testing import tiny_model, tiny_tokenizer

    family, numbers = SHAPES[name]
    tokenizer = tiny_tokenizer(chat=True)
    dtype = torch.float32 if name == "tiny" else torch.bfloat16
    tiny_model(family, dtype=dtype, pad_token_id=tokenizer.pad_token_id, **numbers).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder

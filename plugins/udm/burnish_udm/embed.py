"""Prompts as points. In: texts and the name of a model. Out: one vector each. Loads the model, and lets go of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from burnish.errors import DataError


def embed(texts: Sequence[str], path: str, max_length: int, batch_size: int) -> NDArray[np.float64]:
    """The mean of the last hidden states over a text's tokens: [N, D].

    DataError for a model that cannot be loaded without pickles and without code that comes with it.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        model = AutoModel.from_pretrained(path, trust_remote_code=False, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise DataError(f"udm: the embedder '{path}' cannot be loaded: {error}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    model = model.to(device).eval()
    found = []
    for start in range(0, len(texts), batch_size):
        some = list(texts[start : start + batch_size])
        batch = tokenizer(some, padding=True, truncation=True, max_length=max_length, return_tensors="pt").to(device)
        with torch.no_grad():
            states = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        mask = batch["attention_mask"][:, :, None].to(states)
        found.append(((states * mask).sum(1) / mask.sum(1).clamp(min=1)).double().cpu().numpy())
    return np.concatenate(found)

"""What one layer costs forward and backward, as transformers writes it and lean: CPU time of this thread, the least of many.

    OMP_NUM_THREADS=1 python tests/benchmarks/layer_cost.py

A Llama layer of SmolLM2-135M's shape on 1,024 tokens with torch's own attention, random numbers, float32.
"""

from __future__ import annotations

import argparse
import copy
import time
from contextlib import nullcontext
from typing import Any

import torch

from burnish.model.lean import make_lean
from burnish.model.recipes import by_recipe
from burnish.testing import tiny_model

SHAPE = {"hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64}


def cost(model: Any, context: Any, x: torch.Tensor) -> tuple[float, float]:
    """Seconds forward and backward."""
    layer, x = model.model.layers[0], x.clone().requires_grad_()
    layer.zero_grad()
    places = torch.arange(x.shape[1])[None]
    turns = model.model.rotary_emb(x, places)
    started = time.thread_time()
    with context():
        output = layer(x, position_embeddings=turns, position_ids=places)
    between = time.thread_time()
    output.backward(x.detach())
    return between - started, time.thread_time() - between


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--times", type=int, default=12)
    asked = parser.parse_args()
    own = tiny_model("llama", num_hidden_layers=1, vocab_size=64, initializer_range=0.02, **SHAPE).train()
    lean = copy.deepcopy(own)
    make_lean(lean)
    x = torch.randn(1, asked.tokens, SHAPE["hidden_size"])
    both = {"as transformers writes it": (own, nullcontext), "lean": (lean, by_recipe)}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in both}
    for _ in range(asked.times):  # in turns, so that both meet the same machine
        for name, (model, context) in both.items():
            found[name].append(cost(model, context, x))
    for name, costs in found.items():
        forward, backward = (1000 * min(column) for column in zip(*costs, strict=True))
        print(f"{name}: {forward:.0f} ms forward, {backward:.0f} ms backward")


if __name__ == "__main__":
    main()

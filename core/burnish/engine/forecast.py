"""What a run will forward and hold in memory, told before it starts: from tokenised data, shapes and settings.

In: batches of units, a model without weights (device `meta`), the config's sections. Out: counts of tokens and bytes. Reads no
weights file, and measures what it can: optimiser states by stepping a small parameter, tokens by planning real batches.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from burnish.batch.layout import Kind
from burnish.batch.plan import plan
from burnish.batch.trie import num_unique_tokens
from burnish.data.units import Sequence, Unit
from burnish.engine.budget import activation_bytes
from burnish.engine.optim import build_optimizer
from burnish.model.head import tile_rows

if TYPE_CHECKING:
    from burnish.config.sections import OptimizerSection, TrainSection

PROBE = 4096
# Float32 logits of a tile, their softmax and their gradient.
TILE_COPIES = 3


@dataclass(frozen=True)
class TokenCount:
    """What one forward of some global batches costs, by layout.

    padded: rectangles, pads included; packed: sequences end to end; tree: common prefixes once. micro_batches: forwards, in the
    layout that runs.
    """

    batches: int = 0
    sequences: int = 0
    micro_batches: int = 0
    padded: int = 0
    packed: int = 0
    tree: int = 0

    def of(self, kind: Kind) -> int:
        """Tokens in one layout."""
        return {"padded": self.padded, "packed": self.packed, "tree": self.tree}[kind]


def count_tokens(batches: Iterable[list[Unit]], budget: int, kind: Kind) -> TokenCount:
    """Counts over `batches`, each planned as training plans it, with micro-batches of `budget` tokens; `kind` is what runs."""
    total = [0] * 6
    for units in batches:
        [micro] = plan(units, budget, kind)
        [rectangles] = plan(units, budget, "padded")
        [trees] = plan(units, budget, "tree")
        sequences = sequences_of(units)
        counts = (
            1,
            len(sequences),
            len(micro),
            sum(one.num_tokens for one in rectangles),
            sum(map(len, sequences)),
            sum(num_unique_tokens(sequences_of(one.units)) for one in trees),
        )
        total = [before + count for before, count in zip(total, counts, strict=True)]
    return TokenCount(*total)


def sequences_of(units: Iterable[Unit]) -> list[Sequence]:
    """All sequences of some units."""
    return [sequence for unit in units for sequence in unit.sequences]


def memory_parts(
    model: nn.Module, config: Any, train: TrainSection, optimizer: OptimizerSection, budget: int, *, copies: int = 0
) -> dict[str, int]:
    """Bytes by part, at the peak of a step.

    model: the policy, on `meta`; config: its transformers config; copies: frozen models of the same size beside it.
    """
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    num_trained = sum(parameter.numel() for parameter in trained)
    text = config.get_text_config()
    element_bytes = 4 if train.precision == "float32" else 2
    parts = {
        "weights": weights,
        "frozen copies": copies * weights,
        "gradients": sum(parameter.numel() * parameter.element_size() for parameter in trained),
        "optimiser": int(num_trained * optimizer_bytes(optimizer, trained[0].dtype)) if trained else 0,
        "activations": budget * activation_bytes(text, element_bytes, train.gradient_checkpointing),
        "logits": TILE_COPIES * 4 * text.vocab_size * tile_rows(text.vocab_size, torch.device("cpu")),
    }
    return {name: size for name, size in parts.items() if size}


def optimizer_bytes(section: OptimizerSection, dtype: torch.dtype) -> float:
    """Bytes of optimiser state per trained parameter, measured on one small matrix."""
    side = int(PROBE**0.5)
    parameter = nn.Parameter(torch.zeros(side, side, dtype=dtype))
    optimizer = build_optimizer(section, [("probe", parameter)])
    parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    held = optimizer.state[parameter].values()
    return sum(value.numel() * value.element_size() for value in held if isinstance(value, torch.Tensor)) / PROBE

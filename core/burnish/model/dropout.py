"""Dropout in a model: found wherever families keep it, and switched off, for a batch is a set and not a draw.

In: a module. Out: where it drops out. Families keep probabilities in `nn.Dropout` modules or in plain numbers beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, slots=True)
class Dropout:
    """One place. module, attribute: where its probability is kept; name: its path in the model."""

    name: str
    module: nn.Module
    attribute: str
    probability: float

    @property
    def in_attention(self) -> bool:
        """Whether it drops attention weights, which happens inside the attention function."""
        return any(word in self.name.rpartition(".")[2] for word in ("attention", "attn"))


def dropouts(model: nn.Module) -> Iterator[Dropout]:
    """All places with a probability above 0."""
    for name, module in model.named_modules():
        numbers = {"p": module.p} if isinstance(module, nn.Dropout) else vars(module)
        for attribute, value in numbers.items():
            if isinstance(value, float) and value > 0 and (attribute == "p" or "dropout" in attribute):
                yield Dropout(name if attribute == "p" else f"{name}.{attribute}", module, attribute, value)


def switch_off(model: nn.Module) -> None:
    """No dropout anywhere from now on; the model's config, which is saved with it, keeps its numbers."""
    for place in list(dropouts(model)):
        setattr(place.module, place.attribute, 0.0)

"""The value head of a language model: one number per token from the hidden states that its vocabulary head reads.

In: a transformers model. Out: the same one with a linear layer beside its own. It is trained and checkpointed with the model;
the exported model, which others load, does without it.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from burnish.errors import ModelError

VALUE_HEAD = "burnish_value_head"  # a name that no model has of its own


def add_value_head(model: Any) -> None:
    """Give a transformers language model (not yet wrapped by PEFT, or the model inside) a value head, unless it has one.

    Its weights are 0, so that every value starts from 0; its dtype and device are those of the vocabulary head.
    """
    if hasattr(model, VALUE_HEAD):
        return
    weight = next(model.get_output_embeddings().parameters())
    dtype = weight.dtype if weight.is_floating_point() else None
    head = nn.Linear(model.config.get_text_config().hidden_size, 1, device=weight.device, dtype=dtype)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    model.add_module(VALUE_HEAD, head)


def is_of_value_head(name: str) -> bool:
    """Whether a parameter called `name` belongs to a value head."""
    return VALUE_HEAD in name.split(".")


def value_head_of(model: nn.Module) -> nn.Linear:
    """The value head of a transformers model; ModelError when it has none."""
    head = getattr(model, VALUE_HEAD, None)
    if not isinstance(head, nn.Linear):
        raise ModelError(
            "the signal 'value' needs a value head, which this language model does not have; "
            "burnish.model.values.add_value_head(model) gives it one"
        )
    return head

"""The value head of a language model: one number per token, from the hidden states that its vocabulary head reads, or from
those of a critic, a model of its own.

In: a transformers model. Out: the same one with a linear layer, or a critic that ends in one, beside its own layers. It is
trained and checkpointed with the model; the exported model, which others load, does without it.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from burnish.errors import ModelError

VALUE_HEAD = "burnish_value_head"  # a name that no model has of its own


def add_value_head(model: Any, critic: Any = None) -> None:
    """Give a transformers language model (not yet wrapped by PEFT, or the model inside) a value head, unless it has one.

    critic: another transformers model, whose layers the head then reads; its own head gives way, unless it gives one number
    already, as a reward model's does. Weights of a new head are 0, so that every value starts from 0; its dtype and device are
    those of the head that it stands beside or in the place of.
    """
    if hasattr(model, VALUE_HEAD):
        return
    if critic is None:
        model.add_module(VALUE_HEAD, _fresh(model))
        return
    if critic.get_output_embeddings() is not None:
        critic.set_output_embeddings(_fresh(critic))
        critic.config.get_text_config().tie_word_embeddings = False  # the value head is not tied to the embeddings
    elif critic.score.out_features != 1:
        critic.score = _fresh(critic)
    model.add_module(VALUE_HEAD, critic)


def critic_like(model: Any) -> Any:
    """A copy of a transformers language model, to be its critic. What is not trained is shared by both."""
    shared: dict[int, Any] = {id(tensor): tensor for tensor in model.parameters() if not tensor.requires_grad}
    shared[id(model.get_output_embeddings())] = _fresh(model)  # a copy of the vocabulary head would be thrown away
    return copy.deepcopy(model, shared)


def _head_of(model: Any) -> Any:
    head = model.get_output_embeddings()
    return model.score if head is None else head


def _fresh(model: Any) -> nn.Linear:
    weight = next(_head_of(model).parameters())
    dtype = weight.dtype if weight.is_floating_point() else None
    made = nn.Linear(model.config.get_text_config().hidden_size, 1, device=weight.device, dtype=dtype)
    nn.init.zeros_(made.weight)
    nn.init.zeros_(made.bias)
    return made


def is_of_value_head(name: str) -> bool:
    """Whether a parameter called `name` belongs to a value head."""
    return VALUE_HEAD in name.split(".")


def critic_of(model: nn.Module) -> Any:
    """The critic that gives a transformers model's values; None where its own layers do."""
    found = getattr(model, VALUE_HEAD, None)
    return None if isinstance(found, nn.Linear) else found


def value_head_of(model: nn.Module) -> nn.Linear:
    """The value head of a transformers model, or of its critic; ModelError when it has none."""
    critic, head = critic_of(model), getattr(model, VALUE_HEAD, None)
    if critic is not None:
        head = _head_of(critic)
    if not isinstance(head, nn.Linear):
        raise ModelError(
            "the signal 'value' needs a value head, which this language model does not have; "
            "burnish.model.values.add_value_head(model) gives it one"
        )
    return head

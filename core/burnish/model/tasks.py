"""What a model's head is for: the next token, one score of a whole sequence, or a label of a token.

In: signals that an objective reads, a transformers config, a model. Out: the task, and what loading must be told of the head.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PretrainedConfig,
)

from burnish.errors import ModelError
from burnish.model.signals import Signal

Task = Literal["language", "sequence", "token"]

CLASSES: dict[Task, Any] = {
    "language": AutoModelForCausalLM,
    "sequence": AutoModelForSequenceClassification,
    "token": AutoModelForTokenClassification,
}
PEFT_TYPES: dict[Task, str] = {"language": "CAUSAL_LM", "sequence": "SEQ_CLS", "token": "TOKEN_CLS"}
OUTPUTS: dict[Task, int] = {"sequence": 1, "token": 2}
LABELS = ("wrong", "right")
READ_BY: dict[str, Task] = {"score": "sequence", "label_logp": "token"}
"""Signals that a language model does not give, and the head that gives them. A `value` has a head of its own."""


def task_for(signals: Iterable[Signal]) -> Task:
    """The head that gives all `signals`; ModelError when no single one does."""
    found: dict[Task, str] = {}
    for signal in signals:
        if signal.name != "value" or signal.tile is not None:
            found.setdefault("language" if signal.tile is not None else READ_BY.get(signal.name, "language"), signal.name)
    if len(found) > 1:
        one, other = (f"'{name}' from a {task} head" for task, name in list(found.items())[:2])
        raise ModelError(f"the objective reads {one} and {other}, and a model has one: train two models")
    return next(iter(found), "language")


def task_of(name: str) -> Task:
    """The task of a class of transformers, by its name."""
    if name.endswith("ForTokenClassification"):
        return "token"
    return "sequence" if name.endswith("ForSequenceClassification") else "language"


def task_of_config(config: PretrainedConfig) -> Task:
    """The task that a saved model was saved with."""
    return task_of((config.architectures or [""])[0])


def task_of_model(model: nn.Module) -> Task:
    """The task of a live model; one without output embeddings and of no known name scores sequences."""
    task = task_of(type(model).__name__)
    has_vocabulary = model.get_output_embeddings() is not None  # type: ignore[operator]
    return "sequence" if task == "language" and not has_vocabulary else task


def outputs_for(task: Task, config: PretrainedConfig, name: str) -> dict[str, Any]:
    """What `from_pretrained` must be told of the head; ModelError for a classifier whose head has other outputs."""
    if task == "language":
        return {}
    saved, wanted = task_of_config(config), OUTPUTS[task]
    if saved != "language" and config.num_labels != wanted:
        raise ModelError(
            f"the model '{name}' is a {saved} classifier with {config.num_labels} outputs, and {wanted} "
            f"{'is' if wanted == 1 else 'are'} needed here: start from one with {wanted}, or from a language model, "
            "which gets a fresh head"
        )
    if task == "sequence" or saved == task:
        return {"num_labels": wanted}
    return {"id2label": dict(enumerate(LABELS)), "label2id": {label: index for index, label in enumerate(LABELS)}}

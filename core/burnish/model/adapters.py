"""LoRA adapters: made fresh, continued, several by name, switched off for a while; and embeddings for new tokens.

In: a transformers model. Out: a PEFT model. Adapters that prepend virtual tokens are refused: they would have to stand before
every sequence of a packed layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from burnish.errors import ModelError
from burnish.model.hub import cache_only
from burnish.model.peft_without_hub import (
    AuxiliaryTrainingWrapper,
    BaseTunerLayer,
    LoraConfig,
    LoraLayer,
    PeftConfig,
    PeftModel,
    get_peft_model,
)
from burnish.model.tasks import PEFT_TYPES, task_of_model

NAME = "default"


def add_lora(
    model: nn.Module,
    *,
    r: int = 16,
    alpha: float = 32,
    dropout: float = 0.0,
    targets: str | list[str] = "all-linear",
    modules_to_save: list[str] | None = None,
    name: str = NAME,
) -> PeftModel:
    """A fresh adapter that changes nothing yet; beside those that the model has already, if any, and the active one."""
    task = task_of_model(model)
    config = LoraConfig(
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=targets,
        modules_to_save=modules_to_save,
        # PEFT trains a classifier's head in full; it spares a sequence classifier's the adapter, a token classifier's not.
        exclude_modules=["score"] if task == "token" and targets == "all-linear" else None,
        task_type=PEFT_TYPES[task],
    )
    return _put_on(model, config, name)


def load_adapter(model: nn.Module, path: str, name: str = NAME, trainable: bool = True) -> PeftModel:
    """The adapter saved at `path`, put on `model` (beside those that it has) and made the active one."""
    _config_at(path)
    folder = Path(path)
    if folder.is_dir() and not (folder / "adapter_model.safetensors").is_file():
        raise ModelError(f"the adapter at '{path}' has no adapter_model.safetensors; pickled weights are not loaded")
    if not isinstance(model, PeftModel):
        return PeftModel.from_pretrained(model, path, adapter_name=name, is_trainable=trainable)
    model.load_adapter(path, adapter_name=name, is_trainable=trainable)
    model.set_adapter(name, inference_mode=not trainable)
    return model


def adapter_shapes(model: nn.Module, path: str, name: str = NAME, trainable: bool = True) -> PeftModel:
    """The adapter saved at `path` as `load_adapter` gives it, without reading its weights."""
    config = _config_at(path)
    config.inference_mode = not trainable
    return _put_on(model, config, name)


def within_run(folder: Path) -> str:
    """The end of a sentence about a folder that holds no model: where it is when the folder is a run, else nothing."""
    return f". It is a run: the model that it trained is {folder / 'model'}" if (folder / "run.yaml").is_file() else ""


def _config_at(path: str) -> PeftConfig:
    try:
        config = PeftConfig.from_pretrained(path, local_files_only=Path(path).is_dir() or cache_only(path))
    except (OSError, ValueError) as error:
        raise ModelError(f"no adapter at '{path}': {error}{within_run(Path(path))}") from error
    if config.is_prompt_learning:
        raise ModelError(f"the adapter at '{path}' is {config.peft_type.value}; burnish trains LoRA, not virtual tokens")
    return config


def _put_on(model: nn.Module, config: PeftConfig, name: str) -> PeftModel:
    try:
        if not isinstance(model, PeftModel):
            return get_peft_model(model, config, adapter_name=name)
        model.add_adapter(name, config)
    except ValueError as error:
        linear = {path.rpartition(".")[2] for path, module in model.named_modules() if isinstance(module, nn.Linear)}
        raise ModelError(
            f"the adapter cannot be put on {type(model).__name__}: {error} Its linear modules: {', '.join(sorted(linear))}."
        ) from error
    model.set_adapter(name, inference_mode=config.inference_mode)
    return model


@contextmanager
def adapter_off(model: nn.Module) -> Iterator[None]:
    """Within it the base model answers.

    `PeftModel.disable_adapter` freezes and thaws parameters besides, by its own rules; under FSDP, and for adapters that were
    loaded frozen, they must be left alone. So only the flags that its layers read are set.
    """
    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper)]
    before = [layer._disable_adapters for layer in layers]
    try:
        for layer in layers:
            layer._disable_adapters = True
        yield
    finally:
        for layer, was_disabled in zip(layers, before, strict=True):
            layer._disable_adapters = was_disabled


def is_fresh(model: nn.Module) -> bool:
    """Whether switching adapters off would change no output: there are none, or the active ones are as they were made."""
    for layer in model.modules():
        if isinstance(layer, BaseTunerLayer):
            if not all(_adds_nothing(layer, name) for name in layer.active_adapters):
                return False
        elif isinstance(layer, AuxiliaryTrainingWrapper):
            before = layer.original_module.state_dict()
            for name in layer.active_adapters:
                trained = layer.modules_to_save[name].state_dict() if name in getattr(layer, "modules_to_save", {}) else {}
                if any(not torch.equal(trained[key], before[key]) for key in trained):
                    return False
    return True


def _adds_nothing(layer: BaseTunerLayer, name: str) -> bool:
    """Whether one of the two factors of a LoRA layer is zero; of other kinds of adapters it is not known."""
    if not isinstance(layer, LoraLayer):
        return False
    factors = [part[name] for part in (layer.lora_A, layer.lora_B) if name in part]
    factors += [part[name] for part in (layer.lora_embedding_A, layer.lora_embedding_B) if name in part]
    return not factors or any(not getattr(factor, "weight", factor).any() for factor in factors)


def active_adapters(model: nn.Module) -> list[str]:
    """The names of the adapters that the model answers with."""
    return sorted({name for layer in model.modules() if isinstance(layer, BaseTunerLayer) for name in layer.active_adapters})


def has_adapter(model: nn.Module) -> bool:
    """Whether `model` is, or wraps, a PEFT model."""
    return any(isinstance(module, PeftModel) for module in model.modules())


def grow_embeddings(model: Any, num_tokens: int) -> None:
    """Rows for `num_tokens` tokens, where there are fewer; the new ones are the mean of the old: nothing random."""
    had = model.get_input_embeddings().weight.shape[0]
    if num_tokens <= had:
        return
    model.resize_token_embeddings(num_tokens, mean_resizing=False)
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        if module is not None:
            with torch.no_grad():
                weight: Tensor = module.weight
                weight[had:] = weight[:had].mean(0)

"""Loading: a name becomes a tokenizer and a model, with its adapters on and everything that would surprise a loss switched off.

In: sections of the config and the registry. Out: transformers and PEFT objects. Weights come from safetensors only; code from a
model's repository runs only where the config says so. Nothing is fetched but what the config names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from burnish.config.sections import AdapterSection, ModelSection
from burnish.data.templates import apply_template
from burnish.errors import ModelError, did_you_mean, nearest
from burnish.model.adapters import adapter_shapes, add_lora, grow_embeddings, load_adapter, within_run
from burnish.model.dropout import switch_off
from burnish.model.hub import cache_only, why_not
from burnish.model.tasks import CLASSES, Task, outputs_for, task_of_config
from burnish.registry.custom import is_custom
from burnish.registry.lookup import Registry
from burnish.registry.records import ModelRecord

SHOWN = 8


def find_model(name: str, registry: Registry, *, weights: bool = True) -> str:
    """Where `name` is: a folder, the one that a plugin or a config's own code provides (fetched if need be), else a hub id.

    weights: False where tokenizer and config are enough; a model plugin may then spare itself the rest.
    """
    if Path(name).expanduser().is_dir():
        return str(Path(name).expanduser())
    if is_custom(name) or any(record.name == name for record in registry.records(ModelRecord)):
        source = registry.find(ModelRecord, name)()
        return str(source.weights() if weights else source.tokenizer())
    path = Path(name).expanduser()
    if path.is_absolute() or name.startswith(".") or name.count("/") > 1:
        near = _folder_near(path)
        raise ModelError(f"no model at '{name}': there is no such folder." + (f" Did you mean '{near.name}'?" if near else ""))
    return name


def _folder_near(path: Path) -> Path | None:
    """The folder beside `path` that is called most like it."""
    beside = [item for item in path.parent.iterdir() if item.is_dir()] if path.parent.is_dir() else []
    near = nearest(path.name, (item.name for item in beside))
    return path.with_name(near) if near else None


def check_model(section: ModelSection, registry: Registry, name: str | None = None) -> PretrainedConfig:
    """The config of the section's model, or of another called `name`; ModelError when there is none, or when its head has
    other outputs than the section's task needs. Reads no weights."""
    wanted = name or _named(section)
    path = find_model(wanted, registry, weights=False)
    try:
        config = _config_at(path, section, name)
    except (OSError, ValueError) as error:
        raise _not_loaded("config", wanted, registry, error) from error
    if name is None:
        outputs_for(_task(section, config), config, wanted)
    return config


def load_tokenizer(section: ModelSection, registry: Registry) -> PreTrainedTokenizerBase:
    """The model's tokenizer, with the chat template that the config names."""
    name = _named(section)
    path = find_model(name, registry, weights=False)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            path,
            revision=section.revision,
            trust_remote_code=section.trust_remote_code,
            local_files_only=cache_only(path),
        )
    except (OSError, ValueError) as error:
        raise _not_loaded("tokenizer", name, registry, error) from error
    if section.chat_template is not None:
        apply_template(tokenizer, section.chat_template)
    return tokenizer


def load_policy(
    section: ModelSection,
    registry: Registry,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> nn.Module:
    """The model to train, on the CPU unless quantised, with its adapters. Without one, every weight is trained.

    tokenizer: the embeddings grow to hold its tokens; one without padding pads a classifier with its end of sequence. A head
    that the saved model lacks is made fresh, from torch's generator.
    """
    model = _load(section, None, registry, tokenizer)
    for adapter in section.adapter:
        model = _put_on(model, adapter)
    return model


def load_shapes(section: ModelSection, registry: Registry, tokenizer: PreTrainedTokenizerBase) -> nn.Module:
    """The model to train without its weights, on the device `meta`; reads no weights file."""
    config = check_model(section, registry)
    task = _task(section, config)
    for key, value in outputs_for(task, config, _named(section)).items():
        setattr(config, key, value)
    with torch.device("meta"):
        model: Any = CLASSES[task].from_config(
            config, dtype=getattr(torch, section.dtype), trust_remote_code=section.trust_remote_code
        )
        switch_off(model)
        grow_embeddings(model, len(tokenizer))
        for adapter in section.adapter:
            if adapter.path is None:
                model = _put_on(model, adapter)
            else:
                model = adapter_shapes(model, adapter.path, adapter.name, adapter.trainable)
    return model  # type: ignore[no-any-return]


def load_frozen(
    name: str,
    section: ModelSection,
    registry: Registry,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> nn.Module:
    """A reference or teacher: the model called `name`, with the policy's dtype and quantisation; gradients off."""
    model = _load(section, name, registry, tokenizer)
    return model.requires_grad_(False)


def _load(
    section: ModelSection, other: str | None, registry: Registry, tokenizer: PreTrainedTokenizerBase | None
) -> nn.Module:
    """The section's own model, or another with the task that it was saved with."""
    name, dtype = other or _named(section), getattr(torch, section.dtype)
    path = find_model(name, registry)
    try:
        config = _config_at(path, section, other)
        task = _task(section, config) if other is None else task_of_config(config)
        with _head_may_be_fresh(task != task_of_config(config)):
            model: Any = CLASSES[task].from_pretrained(
                path,
                revision=section.revision if other is None else None,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=section.trust_remote_code,
                local_files_only=cache_only(path),
                **outputs_for(task, config, name),
                **_quantized(section.quantize, dtype, task),
            )
    except (OSError, ValueError, ImportError) as error:
        raise _not_loaded("model", name, registry, error) from error
    except SafetensorError as error:
        raise ModelError(f"the weights in '{path}' are damaged or cut short ({error}); fetch or copy them anew") from error
    switch_off(model)
    if tokenizer is not None:
        grow_embeddings(model, len(tokenizer))
        if task != "language":
            _agree_on_padding(model.config.get_text_config(), tokenizer)
    loaded: nn.Module = model
    return loaded


def _config_at(path: str, section: ModelSection, other: str | None) -> PretrainedConfig:
    config = AutoConfig.from_pretrained(
        path,
        revision=section.revision if other is None else None,
        trust_remote_code=section.trust_remote_code,
        local_files_only=cache_only(path),
    )
    for part in (config, *(getattr(config, name, None) for name in config.sub_configs)):
        kernel = str(getattr(part, "_attn_implementation", None))
        if "/" in kernel:
            raise ModelError(
                f"the config of '{path}' wants its attention from the hub ('{kernel}'), where code would be fetched and run; "
                "take `attn_implementation` out of its config.json"
            )
    return config


def _task(section: ModelSection, config: PretrainedConfig) -> Task:
    return task_of_config(config) if section.head == "auto" else section.head


@contextmanager
def _head_may_be_fresh(is_fresh: bool) -> Iterator[None]:
    """Within it transformers does not report that a head that is to be trained was not in the file, or the old one unused."""
    before = logging.get_verbosity()
    if is_fresh:
        logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _agree_on_padding(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """A classifier tells by the id of padding where a sequence ends, so it and the tokenizer must mean the same one."""
    if tokenizer.pad_token_id is None:
        known = config.pad_token_id is not None and config.pad_token_id < len(tokenizer)
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(config.pad_token_id) if known else tokenizer.eos_token
    config.pad_token_id = tokenizer.pad_token_id


def _put_on(model: nn.Module, section: AdapterSection) -> nn.Module:
    lora, adapted = section.lora, model
    if section.path is not None:
        adapted = load_adapter(model, section.path, section.name, section.trainable)
    elif lora is not None:
        adapted = add_lora(
            model,
            r=lora.r,
            alpha=lora.alpha,
            dropout=lora.dropout,
            targets=lora.targets if isinstance(lora.targets, str) else list(lora.targets),
            modules_to_save=list(lora.modules_to_save) or None,
            name=section.name,
        )
    return adapted


def _quantized(bits: Literal["4bit", "8bit"] | None, dtype: torch.dtype, task: Task) -> dict[str, Any]:
    """Keywords of `from_pretrained` that load weights in few bits."""
    if bits is None:
        return {}
    if find_spec("bitsandbytes") is None:
        raise ModelError(f"`model.quantize: {bits}` needs bitsandbytes; install it with: pip install 'burnish[quantize]'")
    skipped = None if task == "language" else ["score"]  # a fresh head is trained in full
    if bits == "8bit":
        config = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skipped)
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=skipped,
        )
    device = torch.cuda.current_device() if torch.cuda.is_available() else "cpu"
    return {"quantization_config": config, "device_map": {"": device}}


def _named(section: ModelSection) -> str:
    if section.name is None:
        raise ModelError("the config names no model; set `model.name` to a folder, a hub id or a registered model")
    return section.name


def _not_loaded(what: str, name: str, registry: Registry, error: Exception) -> ModelError:
    """What was tried, and what failed last."""
    if "trust_remote_code" in str(error):
        return ModelError(
            f"the model '{name}' comes with Python code of its own, which is run only where you say so: in a config "
            "`model.trust_remote_code: true`, on a command line `--trust-remote-code`"
        )
    folder = Path(name).expanduser()
    if folder.is_dir():
        if what == "model" and not any(folder.glob("*.safetensors")) and any(folder.glob("*.bin")):
            return ModelError(
                f"the weights in '{name}' are pickled (.bin), and unpickling runs code; convert them to safetensors with "
                "transformers' `save_pretrained`"
            )
        if (folder / "adapter_config.json").is_file():
            return ModelError(
                f"the folder '{name}' holds an adapter, not a model. As `model.name` give the model that it "
                f"belongs to, and the folder as `model.adapter`: {{path: {name}}}"
            )
        held = ", ".join(sorted(item.name for item in folder.iterdir())[:SHOWN]) or "nothing"
        if run := within_run(folder):
            return ModelError(f"the folder '{name}' holds no {what}{run}")
        reason = str(error).strip().partition("\n")[0]
        return ModelError(f"the folder '{name}' holds no {what} that can be loaded. It holds {held}. The error was: {reason}")
    known = [record.name for record in registry.records(ModelRecord)]
    said = str(error).strip().partition("\n")[0].rstrip(".")
    sought = "" if what == "model" else f", for its {what}"
    near = f"; did you mean '{found}'?" if (found := _folder_near(folder)) else ""
    return ModelError(
        f"no model named '{name}'. Tried{sought}: a folder of that name (there is none{near}), the models of installed plugins "
        f"({did_you_mean(name, known)[:-1]}), the Hugging Face hub ({said}{why_not()})"
    )

"""What was saved, as a live model again: a run, one of its checkpoints, a model or adapter folder, or a model by name.

In: a path or a name. Out: the model and its tokenizer, live or in Hugging Face form. Runs no code that a config names, and
none that comes with the model because a run's config says so: the run may be somebody else's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from torch import nn

from burnish.config.sections import AdapterSection, ModelSection
from burnish.engine.checkpoint import WEIGHTS, Checkpoints, load_weights
from burnish.engine.export import distinct, save_pretrained
from burnish.engine.manifest import verify_folder, write_folder
from burnish.engine.rundir import RunDirectory
from burnish.errors import RunError
from burnish.model.adapters import has_adapter
from burnish.model.loading import load_policy, load_tokenizer
from burnish.model.peft_without_hub import PeftConfig
from burnish.model.tasks import PEFT_TYPES
from burnish.model.values import is_of_value_head

if TYPE_CHECKING:
    from burnish.registry import Registry

ADAPTER = "adapter_config.json"


@dataclass(frozen=True)
class Saved:
    """A model that answers. what: where it comes from, in words."""

    model: nn.Module
    tokenizer: Any
    what: str


def open_saved(where: str, registry: Registry, step: int | None = None, overrides: dict[str, Any] | None = None) -> Saved:
    """The model at `where`, in evaluation mode.

    A run gives its final model, or its newest checkpoint when it has not ended; `step` chooses a checkpoint. overrides: fields
    of the model section (`dtype`, `quantize`, `trust_remote_code`), instead of those of the run.
    """
    path = Path(where).expanduser()
    changes = overrides or {}
    if (path / WEIGHTS).is_file():
        verify_folder(path)
        saved = _checkpoint(path, model_section(path.parent.parent), registry, changes)
    elif (run := RunDirectory(path)).config.is_file():
        if step is None and run.model.is_dir():
            saved = _folder(run.model, model_section(path), registry, changes)
        else:
            saved = _checkpoint(Checkpoints(run.checkpoints, keep=1).choose(step), model_section(path), registry, changes)
    elif step is not None:
        raise RunError(f"only a run has steps to choose from, and {where} is not one: there is no {run.config}")
    elif path.is_dir() and (path / ADAPTER).is_file():
        peft = PeftConfig.from_pretrained(path)
        section = ModelSection(name=str(peft.base_model_name_or_path), adapter=(AdapterSection(path=str(path)),))
        head = next((task for task, name in PEFT_TYPES.items() if peft.task_type == name), "auto")
        saved = _folder(path, section.model_copy(update={"head": head}), registry, changes)
    else:
        section = ModelSection(name=where).model_copy(update=changes)
        tokenizer = load_tokenizer(section, registry)
        saved = Saved(load_policy(section, registry, tokenizer), tokenizer, where)
    saved.model.eval()
    return saved


def model_section(run: Path) -> ModelSection:
    """The section `model` of a run, without leave to run code. The rest of its config is left alone: its plugins and code need
    not be here."""
    directory = RunDirectory(run)
    directory.require()
    given = yaml.safe_load(directory.config.read_text(encoding="utf-8"))["model"]
    return ModelSection.model_validate({**given, "trust_remote_code": False})


def _checkpoint(folder: Path, section: ModelSection, registry: Registry, changes: dict[str, Any]) -> Saved:
    """The model as the run built it, with the weights that the checkpoint holds."""
    section = section.model_copy(update=changes)
    tokenizer = load_tokenizer(section, registry)
    model = load_policy(section, registry, tokenizer)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    load_weights(folder, trained, without=is_of_value_head)
    return Saved(model, tokenizer, str(folder))


def _folder(folder: Path, section: ModelSection, registry: Registry, changes: dict[str, Any]) -> Saved:
    """A folder in Hugging Face form; one of adapters goes onto the model that `section` names."""
    own = ModelSection(name=str(folder), dtype=section.dtype).model_copy(update=changes)
    tokenizer = load_tokenizer(own, registry)
    if (folder / ADAPTER).is_file() or section.adapter:
        adapters = tuple(_saved_adapter(folder, adapter) for adapter in section.adapter)
        own = section.model_copy(update={"adapter": adapters, "chat_template": None, **changes})
    return Saved(load_policy(own, registry, tokenizer), tokenizer, str(folder))


def _saved_adapter(folder: Path, section: AdapterSection) -> AdapterSection:
    """Where PEFT saves an adapter: the one called `default` in the folder itself, others in folders of their names."""
    place = folder / section.name if (folder / section.name / ADAPTER).is_file() else folder
    return AdapterSection(name=section.name, path=str(place), trainable=False)


def export_saved(saved: Saved, output: Path, *, merge: bool) -> None:
    """Write model, tokenizer, generation config to `output`, whole or not at all."""
    if output.exists():
        raise RunError(f"{output} exists; choose another folder")
    model: Any = saved.model
    if merge:
        if not has_adapter(model):
            raise RunError(f"{saved.what} has no adapter to merge")
        model = model.merge_and_unload()

    def fill(empty: Path) -> None:
        save_pretrained(model, empty, distinct(model))
        saved.tokenizer.save_pretrained(empty)

    write_folder(output, fill)

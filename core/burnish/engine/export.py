"""The trained model as others load it: Hugging Face form, or a PEFT adapter, with tokenizer, generation config and a card.

In: a run. Out: RUN/model, whole or absent. Knows nothing of objectives.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from burnish.engine.card import model_card
from burnish.engine.distributed import on_first
from burnish.engine.manifest import write_folder
from burnish.engine.run import Run
from burnish.engine.sharding import whole
from burnish.model.scorer import base_of
from burnish.model.values import is_of_value_head


def export_model(run: Run) -> Path:
    """Write the model as it is now; every rank must call this, the first one writes."""
    accelerator, model, folder = run.accelerator, run.model, run.directory.model
    state = whole(distinct(model), accelerator.is_main_process)

    def fill(empty: Path) -> None:
        save_pretrained(model, empty, state)
        run.tokenizer.save_pretrained(empty)
        (empty / "README.md").write_text(model_card(run))

    on_first(accelerator, lambda: write_folder(folder, fill))
    return folder


def save_pretrained(model: Any, folder: Path, state: dict[str, Tensor]) -> None:
    """A transformers or PEFT model with the weights `state`; its base's generation config with it."""
    base = base_of(model)
    model.save_pretrained(folder, state_dict=state)
    if base is not model and base.can_generate():
        base.generation_config.save_pretrained(folder)


def distinct(model: nn.Module) -> dict[str, Tensor]:
    """The model's state as others load it: a tensor with several names (tied weights) under the first only, no value head."""
    seen: dict[int, str] = {}
    state = {name: tensor for name, tensor in model.state_dict(keep_vars=True).items() if not is_of_value_head(name)}
    return {name: tensor for name, tensor in state.items() if seen.setdefault(id(tensor), name) == name}

"""What a run needs to go on, in a folder of safetensors and JSON that is whole or absent.

In: the trained parameters, the optimiser, the loop's own state. Out: RUN/checkpoints/step-000100, and all of it back. Sharded
state is gathered: a checkpoint looks the same whatever wrote it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.optim import Optimizer

from burnish.engine.distributed import on_first
from burnish.engine.manifest import PARTIAL, REMOVED, remove_folder, verify_folder, write_folder
from burnish.engine.optim import load_optimizer_state, optimizer_state
from burnish.engine.randomness import random_state, set_random_state
from burnish.engine.sharding import placed_like, whole
from burnish.engine.state import load_tree, save_tree
from burnish.errors import RunError

WEIGHTS, OPTIMIZER, TRAINER, ORIGIN = "weights.safetensors", "optimizer", "trainer", "origin.json"


class Checkpoints:
    """The folder of a run's checkpoints: one `step-NNNNNN` each, the newest `keep` and the best kept."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def path(self, step: int) -> Path:
        """Where the checkpoint of `step` lies."""
        return self.folder / f"step-{step:06d}"

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, in order."""
        names = [path.name.removeprefix("step-") for path in self.folder.glob("step-*")]
        return sorted(int(name) for name in names if name.isdigit())

    def choose(self, step: int | None = None) -> Path:
        """The checkpoint of `step`, else the newest; absent or damaged ones are refused by name."""
        steps = self.steps()
        if not steps or (step is not None and step not in steps):
            asked = "a checkpoint" if step is None else f"the checkpoint of step {step}"
            raise RunError(f"{self.folder} does not have {asked}; it has the steps {steps or 'none'}")
        chosen = steps[-1] if step is None else step
        before = [known for known in steps if known < chosen]
        try:
            verify_folder(self.path(chosen))
        except RunError as error:
            remedy = f"To go on from the one before: --step {before[-1]}" if before else "There is none before it."
            raise RunError(f"{error}. {remedy}") from error
        return self.path(chosen)

    def sweep(self, step: int) -> None:
        """Clear what a crash left half done, and what lies after `step`, which the run now does anew."""
        for path in [*self.folder.glob(f"*{PARTIAL}"), *self.folder.glob(f"*{REMOVED}")]:
            remove_folder(path)
        for later in self.steps():
            if later > step:
                remove_folder(self.path(later))

    def prune(self, best: int | None) -> None:
        """Drop all but the newest `keep` and the best."""
        for step in self.steps()[: -self.keep]:
            if step != best:
                remove_folder(self.path(step))


@dataclass(frozen=True)
class Trained:
    """What a step changes: the parameters with a gradient, by name, and their optimiser."""

    model: nn.Module
    optimizer: Optimizer

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """Trained parameters by name; tied ones once."""
        return {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}

    @property
    def names(self) -> dict[nn.Parameter, str]:
        """The name of each trained parameter."""
        return {parameter: name for name, parameter in self.parameters.items()}


def save_checkpoint(
    folder: Path, trained: Trained, trainer: Mapping[str, Any], origin: Mapping[str, Any], accelerator: Accelerator
) -> None:
    """Write `folder`; every rank must call this, the first one writes.

    trainer: the loop's own state, a tree. origin: what the run was made of, compared at resume.
    """
    weights = whole(trained.parameters, accelerator.is_main_process)
    moments = optimizer_state(trained.optimizer, trained.names, accelerator.is_main_process)
    random_states = gather_object([random_state()])

    def fill(empty: Path) -> None:
        save_file({name: weight.contiguous() for name, weight in weights.items()}, empty / WEIGHTS)
        save_tree(moments, empty / OPTIMIZER)
        save_tree({**trainer, "random": random_states}, empty / TRAINER)
        (empty / ORIGIN).write_text(json.dumps(origin, indent=2))

    on_first(accelerator, lambda: write_folder(folder, fill))


def load_weights(
    folder: Path, parameters: Mapping[str, nn.Parameter], without: Callable[[str], bool] = lambda _: False
) -> None:
    """Put the checkpoint's weights into the parameters that were trained, sharded as they are. without: names to leave out."""
    with safe_open(folder / WEIGHTS, "pt") as file, torch.no_grad():
        if missing := sorted(parameters.keys() ^ {name for name in file.keys() if not without(name)}):  # noqa: SIM118
            raise RunError(f"{folder / WEIGHTS} and the model train different parameters, for example {missing[0]}")
        for name, parameter in parameters.items():
            parameter.copy_(placed_like(file.get_tensor(name), parameter))


def load_checkpoint(folder: Path, trained: Trained, rank: int) -> dict[str, Any]:
    """Put back weights, optimiser and this rank's random state; returns the trainer's state."""
    load_weights(folder, trained.parameters)
    load_optimizer_state(trained.optimizer, trained.names, load_tree(folder / OPTIMIZER))
    trainer: dict[str, Any] = load_tree(folder / TRAINER)
    random_states = trainer.pop("random")
    if rank < len(random_states):
        set_random_state(random_states[rank])
    return trainer


def load_origin(folder: Path) -> dict[str, Any]:
    """What the run of this checkpoint was made of."""
    origin: dict[str, Any] = json.loads((folder / ORIGIN).read_text())
    return origin

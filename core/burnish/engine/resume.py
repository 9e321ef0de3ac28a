"""What a run was made of, and whether it still is: a run goes on only as what it began as, unless the user says otherwise.

In: the config, the registry, the data, the models. Out: an `origin`, plain and comparable; an error that lists what changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.config import Config, custom_values
from burnish.engine.checkpoint import Checkpoints, load_checkpoint, load_origin
from burnish.engine.distributed import on_first
from burnish.engine.run import Run, State
from burnish.engine.rundir import RunDirectory
from burnish.errors import RunError
from burnish.registry import Registry, differences

# Where a run lies and who is told about it do not change what it computes.
FREE = ("output", "track")
# Settings that say `auto` until a run has resolved them; one that still says so when the run goes on takes what the run has.
AUTO = ("model.layout", "train.micro_batch_tokens")


@dataclass(frozen=True)
class Resume:
    """How to go on. step: whose checkpoint, None for the newest. allow_changes: although something else would come out."""

    step: int | None = None
    allow_changes: bool = False


def origin_of(config: Config, registry: Registry, data: Mapping[str, str], model: str, num_processes: int) -> dict[str, Any]:
    """What decides the outcome of a run. data: a hash of each source; model: a hash of the weights it starts from."""
    values = config.model_dump(mode="json")
    return {
        "config": {key: value for key, value in values.items() if key not in FREE},
        "plugins": registry.fingerprint(),
        "code": custom_values(config),
        "data": dict(data),
        "model": {"weights": model},
        "processes": {"number": num_processes},
    }


def refuse_changes(before: Mapping[str, Any], now: Mapping[str, Any], allowed: bool) -> list[str]:
    """What changed since the checkpoint, a line each; `RunError` unless changes are allowed."""
    changes = []
    for what in now:
        changes += [f"{what}: {line}" for line in differences(dict(_flat(before[what])), dict(_flat(now[what])))]
    if changes and not allowed:
        listed = "\n  ".join(changes)
        raise RunError(
            f"the run cannot go on exactly, because this changed since its checkpoint:\n  {listed}\n"
            "Undo the change, or go on with it: --allow-changes"
        )
    return changes


def refuse_changed_code(config: Config, directory: RunDirectory, resume: Resume) -> list[str]:
    """The code that the config names, a line each, before any of it runs; `RunError` when the run began with other code."""
    code = custom_values(config)
    checkpoints = Checkpoints(directory.checkpoints, config.checkpoint.keep)
    if code and checkpoints.steps():
        refuse_changes({"code": load_origin(checkpoints.choose(resume.step))["code"]}, {"code": code}, resume.allow_changes)
    return [f"code of this run: {name} ({digest})" for name, digest in code.items()]


def restore(run: Run, resume: Resume) -> None:
    """Put the run where its checkpoint was; one without any begins anew."""
    folder = on_first(run.accelerator, lambda: _ready(run, resume))
    if folder is None:
        return
    trainer = load_checkpoint(folder, run.trained, run.accelerator.process_index)
    run.guard.skipped, scaler = trainer.pop("skipped"), trainer.pop("scaler")
    if run.accelerator.scaler is not None and scaler is not None:
        run.accelerator.scaler.load_state_dict(scaler)
    run.state = State.from_tree(trainer)
    run.progress.say(f"resumed from {folder}")


def _ready(run: Run, resume: Resume) -> Path | None:
    """The checkpoint to go on from, None when there is none; what came after it is swept away."""
    checkpoints = run.checkpoints
    if resume.step is None and not checkpoints.steps():
        if run.directory.model.exists():
            raise RunError(f"{run.path} is finished, and has no checkpoint to go on from")
        run.metrics.rewind(-1)
        return None
    folder = checkpoints.choose(resume.step)
    changes = refuse_changes(load_origin(folder), run.origin, resume.allow_changes)
    run.progress.say(*(f"changed since the checkpoint: {line}" for line in changes))
    begun = int(folder.name.removeprefix("step-"))
    checkpoints.sweep(begun)
    run.metrics.rewind(begun)
    return folder


def settled(config: Config, saved: Config) -> Config:
    """`config` with every `auto` as the run of `saved` has resolved it."""
    found = {path: _at(saved, path) for path in _autos(config)}
    return config.with_values({path: value for path, value in found.items() if value is not None}, "resolved by the run")


def _autos(config: Config) -> Iterator[str]:
    yield from (path for path in AUTO if _at(config, path) == "auto")
    yield from (f"data.{name}.format" for name, source in config.data.items() if source.format == "auto")


def _at(config: Config, path: str) -> Any:
    value: Any = config.model_dump(mode="json")
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings by dotted path."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{path}.{key}" if path else str(key))
    else:
        yield path, value

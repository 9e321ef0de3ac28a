"""What a run was made of, and whether it still is: a run goes on only as what it began as, unless the user says otherwise.

In: the config, the registry, the data, the models. Out: an `origin`, plain and comparable; an error that lists what changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from burnish.config import Config, custom_values
from burnish.engine.checkpoint import Checkpoints, load_checkpoint, load_origin
from burnish.engine.distributed import on_first
from burnish.engine.progress import Progress
from burnish.engine.run import Run, State
from burnish.engine.rundir import RunDirectory
from burnish.errors import RunError
from burnish.registry import Registry, differences
from burnish.rollout.batches import OnlineBatches, RolloutCursor

# Where a run lies and who is told about it do not change what it computes.
FREE = ("output", "track")
# Settings that say `auto` until a run has resolved them; one that still says so when the run goes on takes what the run has.
AUTO = ("model.head", "model.layout", "train.micro_batch_tokens")
# Parts of an origin that are known only once data and model are loaded.
LOADED = ("data", "model")


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
        one_line_each = what == "plugins"
        was, has = (value[what] if one_line_each else dict(_flat(value[what])) for value in (before, now))
        changes += [f"{what}: {line}" for line in differences(was, has)]
    if changes and not allowed:
        listed = "\n  ".join(changes)
        raise RunError(
            f"the run cannot go on exactly, because this changed since its checkpoint:\n  {listed}\n"
            "Undo the change, or go on with it: --allow-changes"
        )
    return changes


def find_checkpoint(
    config: Config, registry: Registry, directory: RunDirectory, resume: Resume, accelerator: Accelerator
) -> Path | None:
    """The checkpoint to go on from, None for a run that is new or has none. Before anything is loaded and any code that the
    config names is run, `RunError` when it is damaged, or when config, plugins, code or processes are others than its."""
    if not directory.config.is_file():
        return None
    Progress(shown=accelerator.is_main_process).say(
        *(f"code of this run: {name} ({digest})" for name, digest in custom_values(config).items())
    )

    def find() -> Path | None:
        checkpoints = Checkpoints(directory.checkpoints, config.checkpoint.keep)
        if resume.step is None and not checkpoints.steps():
            if directory.model.exists():
                raise RunError(f"{directory.path} is finished, and has no checkpoint to go on from")
            return None
        folder = checkpoints.choose(resume.step)
        now = origin_of(config, registry, {}, "", accelerator.num_processes)
        refuse_changes(load_origin(folder), {what: now[what] for what in now if what not in LOADED}, resume.allow_changes)
        return folder

    return on_first(accelerator, find)


def check_data(folder: Path | None, resume: Resume, fingerprints: Mapping[str, str]) -> None:
    """RunError when the data are others than those of the checkpoint in `folder`."""
    if folder is not None:
        refuse_changes(load_origin(folder), {"data": dict(fingerprints)}, resume.allow_changes)


def restore(run: Run, folder: Path | None, resume: Resume) -> None:
    """Put the run where the checkpoint in `folder` was; without one it begins anew."""
    on_first(run.accelerator, lambda: _rewind(run, folder, resume))
    if folder is None:
        return
    trainer = load_checkpoint(folder, run.trained, run.accelerator.process_index)
    run.guard.skipped, scaler = trainer.pop("skipped"), trainer.pop("scaler")
    if run.accelerator.scaler is not None and scaler is not None:
        run.accelerator.scaler.load_state_dict(scaler)
    reference = trainer.pop("reference")
    if run.following is not None and reference is not None:
        run.following.load(reference)
    run.state = State.from_tree(trainer)
    if resume.allow_changes and isinstance(run.batches, OnlineBatches):  # what was drawn later may have been drawn otherwise
        later = run.state.cursor.rollout if isinstance(run.state.cursor, RolloutCursor) else -1
        on_first(run.accelerator, partial(run.batches.journal.forget_after, later))
    run.progress.say(f"resumed from {folder}")
    if run.state.step >= run.num_steps:
        run.progress.say(f"all {run.num_steps} steps are done: what is left is to write the model")


def _rewind(run: Run, folder: Path | None, resume: Resume) -> None:
    """Sweep away what came after the checkpoint; `RunError` when the model's weights are others than it began with."""
    if folder is None:
        run.metrics.rewind(-1)
        return
    changes = refuse_changes(load_origin(folder), run.origin, resume.allow_changes)
    run.progress.say(*(f"changed since the checkpoint: {line}" for line in changes))
    begun = int(folder.name.removeprefix("step-"))
    run.checkpoints.sweep(begun)
    run.metrics.rewind(begun)


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
